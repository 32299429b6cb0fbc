package labtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega/gbytes"

	"ionlab/internal/artifact"
	"ionlab/internal/guest"
	"ionlab/internal/host"
	"ionlab/internal/lab"
	"ionlab/internal/topology"
)

// Lab is a running topology. It is safe for concurrent use.
type Lab struct {
	inner      *lab.Lab
	nodes      map[string]*Node
	transcript *artifact.Transcript
	redactor   *artifact.Redactor // of what does not pass an artifact.Dir
	stopReport func()
	started    atomic.Bool
	wg         sync.WaitGroup

	mu       sync.Mutex
	scope    scope
	captures []*Capture
	ports    atomic.Uint32 // handed out to throughput probes
	noted    time.Time     // of the newest step that the captures have
	folder   folder
}

// Start brings up the lab that the topology file describes and returns it when every node is ready. The path is
// relative to the suite's folder.
//
// Call it in BeforeSuite, BeforeAll or BeforeEach. It fails the spec when the lab cannot come up, and registers its
// own cleanup: at the end of that node's scope the lab is destroyed. When a spec fails, evidence is taken before that
// (see the package documentation). ctx bounds Start, not the lab. What is missing, such as an image, is made first,
// which can take minutes the first time.
func Start(ctx context.Context, topologyFile string, opts ...Option) *Lab {
	ginkgo.GinkgoHelper()
	l, err := newLab(topologyFile, opts)
	if err != nil {
		ginkgo.Fail("infrastructure: " + err.Error())
	}
	ginkgo.DeferCleanup(l.close)
	labs.add(l)
	l.stopReport = ginkgo.AttachProgressReporter(l.report)
	if err := l.inner.Start(ctx); err != nil {
		l.started.Store(false)
		l.keepEvidence(context.WithoutCancel(ctx), ginkgo.CurrentSpecReport(), time.Time{})
		ginkgo.Fail(startFailure(err))
	}
	l.started.Store(true)
	ginkgo.AddReportEntry("lab started", l.startReport(), ginkgo.ReportEntryVisibilityFailureOrVerbose)
	return l
}

// startFailure tells what does not work here from what the suite's own set-up has found.
func startFailure(err error) string {
	var setUp *lab.SetUpError
	if errors.As(err, &setUp) {
		return setUp.Error()
	}
	return "infrastructure: lab did not start: " + err.Error()
}

func newLab(file string, opts []Option) (*Lab, error) {
	s := settings{log: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&s)
	}
	topo, err := topology.Load(file)
	if err != nil {
		return nil, err
	}
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return nil, err
	}
	machine, err := host.New(dirs, s.log)
	if err != nil {
		return nil, err
	}
	seed, err := seedOf(s)
	if err != nil {
		return nil, err
	}
	if _, err := keepFor(); err != nil {
		return nil, err
	}
	return assemble(lab.Config{
		Topology: topo, Dirs: dirs, Log: s.log, Host: machine, Limits: s.limits, Seed: seed,
		AllowFailedUnits: s.allowFailedUnits, SkipMeasuring: s.skipMeasuring, ColdStart: s.coldStart,
	}, s.setup)
}

// seedOf is where the randomness of impairments comes from; 0 leaves it to the topology, or to chance.
func seedOf(s settings) (uint64, error) {
	text := os.Getenv("LABTEST_SEED")
	if s.seed != 0 || text == "" {
		return s.seed, nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seed == 0 {
		return 0, fmt.Errorf("LABTEST_SEED=%q: give the number that the run to repeat has printed", text)
	}
	return seed, nil
}

// assemble makes a lab that tells Ginkgo of what it does. setup may be nil.
func assemble(cfg lab.Config, setup *Setup) (*Lab, error) {
	l := &Lab{nodes: map[string]*Node{}, transcript: &artifact.Transcript{}}
	consoles := map[string]*gbytes.Buffer{}
	for _, spec := range cfg.Topology.Nodes {
		consoles[spec.Name] = gbytes.NewBuffer()
	}
	cfg.Owner, cfg.Progress, cfg.Observe, cfg.Capture = owner(), follow, l.observe, l.keepCapture
	cfg.Console = func(node string) io.Writer { return consoles[node] }
	var err error
	if cfg.SetUp, err = setup.forLab(l); err != nil {
		return nil, err
	}
	if l.inner, err = lab.New(cfg); err != nil {
		return nil, err
	}
	l.redactor = artifact.NewRedactor(l.inner.Secrets())
	for _, node := range l.inner.Nodes() {
		l.nodes[node.Name()] = &Node{lab: l, inner: node, console: consoles[node.Name()]}
	}
	return l, nil
}

// owner says who runs the lab, for `labtest list`.
func owner() string {
	dir, err := os.Getwd()
	if err != nil {
		dir = "?"
	}
	return fmt.Sprintf("%s (pid %d, Ginkgo process %d)", filepath.Base(dir), os.Getpid(), ginkgo.GinkgoParallelProcess())
}

// Node returns a node by its name. An unknown name fails the spec and lists the names there are.
func (l *Lab) Node(name string) *Node {
	ginkgo.GinkgoHelper()
	if _, err := l.inner.Node(name); err != nil {
		ginkgo.Fail(err.Error())
	}
	return l.nodes[name]
}

// Nodes are the lab's nodes in the topology's order.
func (l *Lab) Nodes() []*Node {
	var nodes []*Node
	for _, node := range l.inner.Nodes() {
		nodes = append(nodes, l.nodes[node.Name()])
	}
	return nodes
}

// ID names the lab on this host, as `labtest list` shows it.
func (l *Lab) ID() string { return l.inner.ID() }

// Seed is where the randomness of all impairments comes from. WithSeed, or LABTEST_SEED in the environment, repeats a run
// with the same losses and delays, as far as the guests send the same frames.
func (l *Lab) Seed() uint64 { return l.inner.Seed() }

// SSHConfig is the path of an ssh_config with which ssh, scp, rsync and Ansible reach the nodes by name.
func (l *Lab) SSHConfig() string { return l.inner.SSHConfig() }

// GomegaString is the lab's name and id.
func (l *Lab) GomegaString() string {
	return fmt.Sprintf("<lab %s (%s)>", l.inner.Topology().Metadata.Name, l.ID())
}

func (l *Lab) observe(e guest.Event) { l.transcript.Add(entryOf(e)) }

// close ends the lab. Evidence of a failed spec was taken before, by the hook in evidence.go.
func (l *Lab) close() error {
	labs.remove(l)
	if l.stopReport != nil {
		l.stopReport()
	}
	err := errors.Join(l.closeCaptures(), l.inner.Close())
	l.wg.Wait()
	for _, node := range l.nodes {
		err = errors.Join(err, node.console.Close())
	}
	return err
}

// startReport is the report entry of a start: what ran the CPUs, and how long each stage of each node took.
func (l *Lab) startReport() string {
	text := fmt.Sprintf("%s in %s on %s, impairment seed %d\n  %s", l.GomegaString(), l.inner.Took().Round(100*time.Millisecond),
		l.inner.Accelerator(), l.Seed(), l.Beginning())
	for _, node := range l.inner.Nodes() {
		text += "\n  " + node.Name() + ":"
		for _, stage := range node.Stages() {
			text += fmt.Sprintf(" %s %s", stage.Stage, stage.Took.Round(100*time.Millisecond))
		}
	}
	return text
}
