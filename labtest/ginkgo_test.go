package labtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
)

// innerSuite tells a second process of this test to run the suite below by Ginkgo, where what is brought back when is
// seen. Its value is the folder for the lab and the report.
const innerSuite = "LABTEST_INNER_SUITE"

var inner *Lab // of the suite below

// The specs run in this order; each looks at what the ones before have left.
var _ = ginkgo.Describe("inner", ginkgo.Ordered, ginkgo.ContinueOnFailure, ginkgo.Label("inner"), func() {
	wan := func(node string) *Link { return inner.Node(node).Link("wan") }
	look := func(node string) string { return wan(node).inner.State() }

	ginkgo.BeforeAll(func(ctx ginkgo.SpecContext) {
		l, err := networksOnly(os.Getenv(innerSuite), "captures: [{network: lan}]\n"+site)
		Expect(err).NotTo(HaveOccurred())
		ginkgo.DeferCleanup(l.close)
		labs.add(l)
		l.started.Store(true)
		inner = l
		Expect(wan("alice").Impair(ctx, Impairment{Loss: 1})).To(Succeed(), "for the whole container")
	})
	ginkgo.BeforeEach(func(ctx ginkgo.SpecContext) {
		Expect(wan("alice").Impair(ctx, Impairment{Duplicate: 3})).To(Succeed(), "for each spec")
	})
	ginkgo.AfterEach(func() {
		Expect(look("alice")).To(HavePrefix("delay"), "nothing is brought back before the spec is over")
	})

	ginkgo.It("changes all kinds of things", func(ctx ginkgo.SpecContext) {
		Expect(look("alice")).To(Equal("delay 5ms, loss 1 %, duplicate 3 %"))
		for loss := range 50 {
			Expect(inner.Network("wan").Impair(ctx, Impairment{Loss: Percent(loss + 2)})).To(Succeed())
		}
		Expect(wan("bob").Down(ctx)).To(Succeed())
		Expect(inner.Partition(ctx, []string{"alice"}, []string{"bob"})).To(Succeed())
		Expect(look("alice")).To(Equal("delay 5ms, loss 51 %, duplicate 3 %"))
		Expect(look("bob")).To(Equal("down; delay 5ms, loss 51 %"))
	})
	ginkgo.It("finds the container's state", func(ctx ginkgo.SpecContext) {
		Expect(look("alice")).To(Equal("delay 5ms, loss 1 %, duplicate 3 %"))
		Expect(look("bob")).To(Equal("delay 5ms"))
		Expect(inner.inner.Cuts()).To(BeEmpty())
	})
	ginkgo.It("schedules and captures", func(ctx ginkgo.SpecContext) {
		capture, err := inner.Network("wan").Capture(ctx)
		Expect(err).NotTo(HaveOccurred())
		ginkgo.By("flapping")
		_, err = wan("bob").Schedule(ctx, Flap(4*time.Millisecond, 2*time.Millisecond))
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() string { return look("bob") }).WithTimeout(patience).WithPolling(time.Millisecond).Should(HavePrefix("down"))
		capture.Mark("it is down")
		second, err := wan("alice").Capture(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(second.Close()).To(Succeed())
	})
	ginkgo.It("finds nothing flapping", func(ctx ginkgo.SpecContext) {
		Consistently(func() string { return look("bob") }).WithTimeout(20 * time.Millisecond).WithPolling(time.Millisecond).Should(Equal("delay 5ms"))
		// What is cleaned up by hand does no harm, although DeferCleanup may not be called here.
		ginkgo.DeferCleanup(func(ctx ginkgo.SpecContext) {
			Expect(wan("bob").Up(ctx)).To(Succeed())
			_, err := wan("bob").Schedule(ctx, Flap(time.Hour, time.Minute))
			Expect(err).NotTo(HaveOccurred())
			_, err = inner.Network("lan").Capture(ctx)
			Expect(err).NotTo(HaveOccurred())
		})
		Expect(wan("bob").Down(ctx)).To(Succeed())
	})
	ginkgo.It("fails when a change of its schedule has failed", func(ctx ginkgo.SpecContext) {
		Expect(look("bob")).To(Equal("delay 5ms"))
		s, err := wan("bob").Schedule(ctx, Timeline{Steps: []Change{{Link: Down}, {Impair: Impairment{Loss: 101}}}})
		Expect(err).NotTo(HaveOccurred())
		Eventually(s.Done()).WithTimeout(patience).Should(BeClosed())
	})
	ginkgo.It("is brought back all the same", func(ctx ginkgo.SpecContext) {
		Expect(look("bob")).To(Equal("delay 5ms"))
		Expect(wan("bob").Impair(ctx, Impairment{Loss: 66})).To(Succeed())
		ginkgo.Fail("for its evidence")
	})
})

// TestInnerSuite is the second process.
func TestInnerSuite(t *testing.T) {
	dir := os.Getenv(innerSuite)
	if dir == "" {
		return // the test below starts it
	}
	RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.LabelFilter, reporter.JSONReport = "inner", filepath.Join(dir, "report.json")
	ginkgo.RunSpecs(t, "inner", suite, reporter)
}

func TestChangesEndWithTheirScope(t *testing.T) {
	g := NewWithT(t)
	dir, err := os.MkdirTemp("", "in") // short: it holds sockets
	g.Expect(err).NotTo(HaveOccurred())
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(within(t), os.Args[0], "-test.run=^TestInnerSuite$")
	cmd.Env = append(os.Environ(), innerSuite+"="+dir, "LABTEST_ARTIFACTS="+filepath.Join(dir, "artifacts"))
	output, _ := cmd.CombinedOutput() // it fails: two of its specs have to
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	g.Expect(err).NotTo(HaveOccurred(), "%s", output)
	var reports []types.Report
	g.Expect(json.Unmarshal(data, &reports)).To(Succeed())
	specs := map[string]types.SpecReport{}
	for _, spec := range reports[0].SpecReports {
		if spec.State != types.SpecStateSkipped {
			specs[spec.LeafNodeText] = spec
		}
	}
	g.Expect(specs).To(HaveLen(6), "%s", output)
	for text, spec := range specs {
		if text != "fails when a change of its schedule has failed" && text != "is brought back all the same" {
			g.Expect(spec.Failure.Message).To(BeEmpty(), text)
		}
	}
	failed := specs["fails when a change of its schedule has failed"].Failure
	g.Expect(failed.Message).To(ContainSubstring(`timeline 1, step 2 of 2, 0s after the start (round 1): impair link of "bob" on network "wan": loss 101 %`))
	g.Expect(failed.FailureNodeType).To(Equal(types.NodeTypeCleanupAfterEach))
	g.Expect(cleanups(specs["changes all kinds of things"])).To(Equal(2), "one for the BeforeEach and one for the It, whatever they change")
	checkFiles(g, dir, specs)
}

func cleanups(spec types.SpecReport) int {
	count := 0
	for _, event := range spec.SpecEvents {
		if event.SpecEventType == types.SpecEventNodeStart && event.NodeType == types.NodeTypeCleanupAfterEach {
			count++
		}
	}
	return count
}

// checkFiles looks at what is left of the suite.
func checkFiles(g *WithT, dir string, specs map[string]types.SpecReport) {
	read := func(parts ...string) string {
		data, err := os.ReadFile(filepath.Join(append([]string{dir, "artifacts", "site"}, parts...)...))
		g.Expect(err).NotTo(HaveOccurred())
		return string(data)
	}
	const spec = "inner-schedules-and-captures"
	g.Expect(read(spec, "wan.pcapng")).To(And(HavePrefix("\x0a\x0d\x0d\x0a"), ContainSubstring("alice@wan"), ContainSubstring("bob@wan"),
		ContainSubstring("schedules and captures"), MatchRegexp(`step at [\d:.]+: flapping`), ContainSubstring("bob@wan: down"), ContainSubstring("it is down")))
	// Of an interface it has the name and the address. Bob's name may be there all the same, in a comment on the flapping.
	g.Expect(read(spec, "wan.pcapng")).To(And(ContainSubstring("10.1.0.10"), ContainSubstring("10.1.0.11")))
	g.Expect(read(spec, "alice-wan.pcapng")).To(And(ContainSubstring("10.1.0.10"), Not(ContainSubstring("10.1.0.11"))))
	var entries []string
	for _, entry := range specs["schedules and captures"].ReportEntries {
		entries = append(entries, entry.Name+" "+entry.StringRepresentation())
	}
	g.Expect(entries).To(ContainElement("capture of wan " + filepath.Join(dir, "artifacts", "site", spec, "wan.pcapng")))
	g.Expect(read("inner-changes-all-kinds-of-things", "lan.pcapng")).To(ContainSubstring("alice@lan"), "which the topology wants")
	const last = "inner-is-brought-back-all-the-same"
	g.Expect(read(last, "links.txt")).To(MatchRegexp(`bob@wan\s+delay 5ms, loss 66 %\s+delay 5ms`), "as it was when the spec failed")
	g.Expect(read(last, "reproduce.txt")).To(MatchRegexp(`(?m)^LABTEST_SEED=\d+ ginkgo --seed=`))
}
