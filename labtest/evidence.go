package labtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"ionlab/internal/artifact"
	"ionlab/internal/guest"
)

// A failed spec's evidence is taken right after it, before any AfterEach or DeferCleanup can change the machines.
var _ = ginkgo.JustAfterEach(func(ctx ginkgo.SpecContext) {
	report := ginkgo.CurrentSpecReport()
	if !report.Failed() {
		return
	}
	living := slices.DeleteFunc(labs.all(), func(l *Lab) bool { return !l.started.Load() }) // Start that fails takes its own evidence
	for _, l := range living {
		l.keepEvidence(ctx, report, report.StartTime)
	}
	limit, _ := keepFor() // what is wrong with it no lab has started with
	hold(ctx, living, limit, os.Stderr)
})

// artifactsRoot is where evidence goes: LABTEST_ARTIFACTS, or labtest-artifacts in the suite's folder.
func artifactsRoot() string {
	if dir := os.Getenv("LABTEST_ARTIFACTS"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("labtest-artifacts")
	if err != nil {
		return "labtest-artifacts"
	}
	return dir
}

// folder is where the artifacts of one run of a spec go.
type folder struct {
	name  string
	start time.Time
	dir   *artifact.Dir
}

// artifacts is the folder for what is kept of what runs now; it is made when it is first asked for.
func (l *Lab) artifacts(report types.SpecReport) (*artifact.Dir, error) {
	name := specName(report)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.folder.dir != nil && l.folder.name == name && l.folder.start.Equal(report.StartTime) {
		return l.folder.dir, nil
	}
	dir, err := artifact.Create(artifactsRoot(), l.inner.Topology().Metadata.Name, name)
	if err != nil {
		return nil, err
	}
	dir.Redact(l.inner.Secrets())
	l.folder = folder{name, report.StartTime, dir}
	return dir, nil
}

// specName is the name of what runs now.
func specName(report types.SpecReport) string {
	if name := report.FullText(); name != "" {
		return name
	}
	return report.LeafNodeType.String()
}

// keepEvidence writes what is known of the lab into a folder of its own and names it in the report. Evidence that
// cannot be taken is told, and fails nothing: the spec has failed already, for a reason of its own.
func (l *Lab) keepEvidence(ctx context.Context, report types.SpecReport, since time.Time) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir, err := l.artifacts(report)
	if err != nil {
		ginkgo.AddReportEntry("artifacts: none", err.Error())
		return
	}
	err = l.inner.Collect(ctx, dir, since)
	for file, text := range map[string]string{
		"transcript.txt": "", "reproduce.txt": l.reproduce(report), "failure.txt": report.Failure.Message + "\n\n" + report.Failure.Location.String() + "\n",
	} {
		write := func(_ context.Context, w io.Writer) error {
			if file == "transcript.txt" {
				return l.transcript.Write(w)
			}
			_, err := io.WriteString(w, text)
			return err
		}
		if e := dir.Save(ctx, file, 8<<20, write); e != nil && err == nil {
			err = e
		}
	}
	entry := dir.Path()
	if err != nil {
		entry += "\n" + err.Error()
	}
	ginkgo.AddReportEntry("artifacts", entry)
}

// reproduce is the command that runs the failed spec again. What fails outside a spec, such as BeforeSuite, comes again
// with any spec, and none stands on its line.
func (l *Lab) reproduce(report types.SpecReport) string {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	config, _ := ginkgo.GinkgoConfiguration()
	focus := ""
	if where := report.LeafNodeLocation; report.LeafNodeType.Is(types.NodeTypeIt) {
		focus = fmt.Sprintf("--focus-file='%s:%d' ", filepath.Base(where.FileName), where.LineNumber)
	}
	return fmt.Sprintf("cd '%s'\nLABTEST_SEED=%d ginkgo --seed=%d %s.\n", strings.ReplaceAll(dir, "'", `'\''`), l.Seed(), config.RandomSeed, focus)
}

// entryOf puts an operation inside a guest into the transcript's words.
func entryOf(e guest.Event) artifact.Entry {
	return artifact.Entry{
		Time: e.Start, Node: e.Node, Operation: e.Kind, Detail: e.Detail, Duration: e.Duration, ExitCode: e.ExitCode, Err: e.Err,
		Stdout: e.Stdout, Stderr: e.Stderr,
	}
}
