package faults_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
	. "ionlab/matchers"
	"ionlab/suites/room"
)

// crowdSpec has four specs, each with a lab of its own.
func crowdSpec() {
	for i := range 4 {
		It(fmt.Sprintf("has a lab, for spec %d", i), Label(roleCrowd), func(ctx SpecContext) {
			lab := labtest.Start(ctx, os.Getenv(topologyVariable))
			AddReportEntry("began", lab.Beginning())
			AddReportEntry("has it since", time.Now().Format(time.RFC3339Nano))
			Expect(lab.Node("solo").Exec(ctx, "sleep", "3")).To(ExitWith(0))
			AddReportEntry("has it until", time.Now().Format(time.RFC3339Nano))
		}, NodeTimeout(20*time.Minute))
	}
}

// told is what a crowd's spec has reported.
type told struct {
	process      int
	state        types.SpecState
	entries      map[string]string
	since, until time.Time
	output       string
}

var _ = Describe("Many owners at once", Ordered, ContinueOnFailure, SpecPriority(1), Label("vm", "parallel"), func() {
	It("share memory for two: of ginkgo --procs=4 two run and two wait and say for whom, and none fails", func(ctx SpecContext) {
		specs := crowd(ctx, "LABTEST_MEMORY_MB=1600")
		Expect(specs).To(HaveLen(4))
		waited, processes, snapshots := 0, map[int]bool{}, map[string]bool{}
		for _, s := range specs {
			Expect(s.state).To(Equal(types.SpecStatePassed), s.output)
			processes[s.process] = true
			snapshots[strings.Join(strings.Fields(s.entries["began"])[:4], " ")] = true
			if strings.Contains(s.output, "waiting for memory") {
				waited++
				Expect(s.output).To(MatchRegexp(`lab: waiting for memory it needs 768 MiB; of 1600 MiB for all labs 1536 are held: ` +
					`lab [0-9a-f]{6} \(single, .* \(pid \d+, Ginkgo process \d\)\) 768 MiB, lab [0-9a-f]{6} \(single, .*\) 768 MiB`))
			}
			AddReportEntry(fmt.Sprintf("process %d", s.process), s.since.Format("15:04:05.000")+" to "+s.until.Format("15:04:05.000"))
		}
		Expect(processes).To(HaveLen(4), "each in a process of its own")
		Expect(waited).To(Equal(2), "those that came too late")
		Expect(most(specs)).To(Equal(2), "labs at once, and both from one snapshot")
		Expect(snapshots).To(HaveLen(1))
		Expect(snapshots).To(HaveKey(HavePrefix("warm start: snapshot ")))
		Expect(in.Labs()).To(BeEmpty())
		Expect(in.Processes()).To(BeEmpty())
	}, NodeTimeout(20*time.Minute))

	It("make one snapshot for all when it was damaged: the first boots cold, the second waits for it, says so, and starts from the new one", func(ctx SpecContext) {
		user := start(in, "hold", single)
		Eventually(ctx, user.Out).Within(time.Minute).Should(gbytes.Say("lab: warm start (?s:.*)PHASE hold"))
		Expect(in.Labs()).NotTo(BeEmpty())
		old := filepath.Base(in.Labs()[0]) // there is no other
		room.Damage(filepath.Join(in.Snapshot(), "solo.memory"), room.FlipBit)
		first := start(in, "hold", single)
		Eventually(ctx, first.Out).Within(time.Minute).Should(gbytes.Say("lab: cold start .* is damaged: the content of solo.memory has changed"))
		second := start(in, "hold", single)
		Eventually(ctx, second.Out).Within(time.Minute).Should(gbytes.Say(`lab: waiting for a snapshot process \d+ starts lab [0-9a-f]{6} of topology "single" cold, to make its snapshot`))
		Eventually(ctx, second.Out).Within(10 * time.Minute).Should(gbytes.Say(`lab: warm start snapshot [0-9a-f]{8}`))
		// The snapshot is there before the first one's own machines are awake again.
		Eventually(ctx, first.Out).Within(time.Minute).Should(gbytes.Say("PHASE hold"))
		Eventually(ctx, second.Out).Within(time.Minute).Should(gbytes.Say("PHASE hold"), "both are up")
		Expect(run(ctx, labtestProgram(), in, "exec", old, "solo", "--", "echo", "alive")).To(Equal("alive\n"), "who uses the old one keeps it")
		for _, session := range []*gexec.Session{user, first, second} {
			Eventually(ctx, session.Interrupt()).Within(time.Minute).Should(gexec.Exit())
		}
	}, NodeTimeout(20*time.Minute))
})

// crowd runs the crowd's specs in four processes, as a user would, and reads Ginkgo's report.
func crowd(ctx SpecContext, env ...string) []told {
	GinkgoHelper()
	program := filepath.Join(in.Root, "crowd.test")
	Expect(os.Symlink(self(), program)).To(Succeed())
	file, err := filepath.Abs(single)
	Expect(err).NotTo(HaveOccurred())
	cmd := exec.CommandContext(ctx, "go", "tool", "ginkgo", "run", "-v", "--no-color", "--procs=4", "--label-filter="+roleCrowd,
		"--output-dir="+in.Root, "--json-report=crowd.json", program)
	cmd.Env = append(append(os.Environ(), in.Env()...), env...)
	cmd.Env = append(cmd.Env, roleVariable+"="+roleCrowd, topologyVariable+"="+file)
	session, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, session).Within(15 * time.Minute).Should(gexec.Exit(0))
	text, err := os.ReadFile(filepath.Join(in.Root, "crowd.json"))
	Expect(err).NotTo(HaveOccurred())
	var reports []types.Report
	Expect(json.Unmarshal(text, &reports)).To(Succeed())
	Expect(reports).To(HaveLen(1))
	var specs []told
	for _, spec := range reports[0].SpecReports {
		if spec.LeafNodeType == types.NodeTypeIt && spec.State != types.SpecStateSkipped {
			specs = append(specs, tell(spec))
		}
	}
	return specs
}

func tell(spec types.SpecReport) told {
	s := told{process: spec.ParallelProcess, state: spec.State, entries: map[string]string{}, output: spec.CapturedGinkgoWriterOutput}
	for _, entry := range spec.ReportEntries {
		s.entries[entry.Name] = entry.StringRepresentation()
	}
	s.since, _ = time.Parse(time.RFC3339Nano, s.entries["has it since"])
	s.until, _ = time.Parse(time.RFC3339Nano, s.entries["has it until"])
	return s
}

// most is how many had their lab at one time.
func most(specs []told) int {
	most := 0
	for _, at := range specs {
		n := 0
		for _, other := range specs {
			if !other.since.After(at.since) && other.until.After(at.since) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
