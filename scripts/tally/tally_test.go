package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
)

func spec(text string, state types.SpecState, labels ...string) types.SpecReport {
	return types.SpecReport{
		LeafNodeType: types.NodeTypeIt, LeafNodeText: text, State: state, LeafNodeLabels: labels,
	}
}

func because(report types.SpecReport, message string) types.SpecReport {
	report.Failure = types.Failure{Message: message, Location: types.CodeLocation{FileName: "x_test.go", LineNumber: 7}}
	return report
}

func suite(name string, succeeded bool, specs ...types.SpecReport) types.Report {
	return types.Report{
		SuitePath: "/checkout/suites/" + name, SuiteSucceeded: succeeded, SpecReports: specs,
		SuiteConfig: types.SuiteConfig{LabelFilter: "!needs:rustdesk"},
	}
}

func TestCount(t *testing.T) {
	rustdesk := suite("rustdesk", true, spec("logs in", types.SpecStateSkipped))
	rustdesk.SuiteLabels = []string{"needs:rustdesk"}
	interrupted := suite("lab", false, spec("reboots", types.SpecStatePassed))
	interrupted.SpecialSuiteFailureReasons = []string{"Interrupted by Timeout"}
	beforeSuite := because(types.SpecReport{LeafNodeType: types.NodeTypeBeforeSuite, State: types.SpecStateFailed}, "no image")
	afterSuite := types.SpecReport{LeafNodeType: types.NodeTypeAfterSuite, State: types.SpecStatePassed}

	for name, test := range map[string]struct {
		reports []types.Report
		ok      bool
		text    string
	}{
		"all passed": {
			reports: []types.Report{suite("lab", true, spec("a", types.SpecStatePassed), spec("b", types.SpecStatePassed), afterSuite)},
			ok:      true,
			text:    "2 passed, 0 failed, 0 skipped\n",
		},
		"left out by labels, of the spec or of the suite": {
			reports: []types.Report{
				rustdesk,
				suite("lab", true, spec("a", types.SpecStatePassed), spec("b", types.SpecStateSkipped, "needs:rustdesk")),
			},
			ok: true,
			text: "left out by the label filter:\n" +
				"  rustdesk: logs in [needs:rustdesk]\n" +
				"  lab: b [needs:rustdesk]\n" +
				"1 passed, 0 failed, 2 skipped\n",
		},
		"a skip while running is no pass": {
			reports: []types.Report{suite("lab", true, spec("a", types.SpecStatePassed), because(spec("b", types.SpecStateSkipped), "no image here"))},
			text:    "skipped while running, which counts as failed here:\n  lab: b: no image here\n1 passed, 1 failed, 0 skipped\n",
		},
		"failures are on one line": {
			reports: []types.Report{suite(
				"lab", false,
				spec("a", types.SpecStatePassed), because(spec("b", types.SpecStatePanicked), "Expected\n    <int>: 1\nto equal 2"),
			)},
			text: "failed:\n  lab: b: Expected <int>: 1 to equal 2 (x_test.go:7)\n1 passed, 1 failed, 0 skipped\n",
		},
		"a failed suite node": {
			reports: []types.Report{suite("lab", false, beforeSuite, spec("a", types.SpecStateSkipped))},
			text:    "failed:\n  lab: [BeforeSuite]: no image (x_test.go:7)\n0 passed, 1 failed, 1 skipped\n",
		},
		"a suite that failed without a failed spec": {
			reports: []types.Report{interrupted},
			text:    "failed:\n  lab: Interrupted by Timeout\n1 passed, 1 failed, 0 skipped\n",
		},
		"everything left out": {
			reports: []types.Report{rustdesk},
			text: "left out by the label filter:\n  rustdesk: logs in [needs:rustdesk]\n" +
				"no spec ran, which counts as failed here\n0 passed, 0 failed, 1 skipped\n",
		},
		"no suite": {text: "no spec ran, which counts as failed here\n0 passed, 0 failed, 0 skipped\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			counted := count(test.reports)
			g.Expect(counted.String()).To(Equal(test.text))
			g.Expect(counted.ok()).To(Equal(test.ok))
		})
	}
}

func TestReadTakesGinkgosJSON(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "suites.json")
	data, err := json.Marshal([]types.Report{suite("lab", true, spec("a", types.SpecStatePassed))})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(path, data, 0o600)).To(Succeed())
	reports, err := read(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(count(reports).passed).To(Equal(1))
}

func TestReadTellsWhatIsMissing(t *testing.T) {
	g := NewWithT(t)
	_, err := read(filepath.Join(t.TempDir(), "none.json"))
	g.Expect(err).To(MatchError(ContainSubstring("the suites should have written")))

	broken := filepath.Join(t.TempDir(), "broken.json")
	g.Expect(os.WriteFile(broken, []byte("[{"), 0o600)).To(Succeed())
	_, err = read(broken)
	g.Expect(err).To(MatchError(ContainSubstring("parse " + broken)))
}

func TestMergeMakesOneReportOfSeveral(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	var parts []string
	for _, name := range []string{"lab", "portal"} {
		report := suite(name, true, spec("a", types.SpecStatePassed))
		part := filepath.Join(dir, name+".json")
		g.Expect(reporters.GenerateJSONReport(report, filepath.Join(dir, "one.json"))).To(Succeed())
		g.Expect(os.Rename(filepath.Join(dir, "one.json"), part)).To(Succeed())
		g.Expect(reporters.GenerateJUnitReport(report, junitOf(part))).To(Succeed())
		parts = append(parts, part)
	}
	all := filepath.Join(dir, "suites.json")
	g.Expect(merge(all, parts)).To(Succeed())
	reports, err := read(all)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(count(reports).String()).To(Equal("2 passed, 0 failed, 0 skipped\n"))
	g.Expect(os.ReadFile(filepath.Join(dir, "suites.xml"))).To(And(ContainSubstring(`package="/checkout/suites/lab"`),
		ContainSubstring(`package="/checkout/suites/portal"`), ContainSubstring(`<testsuites tests="2"`)))
	g.Expect(filepath.Glob(filepath.Join(dir, "*"))).To(HaveLen(2), "the parts are gone")
}

func TestMergeSaysWhatIsMissingAndKeepsTheRest(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	part := filepath.Join(dir, "one.json")
	report := suite("lab", true, spec("a", types.SpecStatePassed))
	g.Expect(reporters.GenerateJSONReport(report, part)).To(Succeed())
	g.Expect(reporters.GenerateJUnitReport(report, junitOf(part))).To(Succeed())
	all := filepath.Join(dir, "suites.json")
	g.Expect(merge(all, []string{part, filepath.Join(dir, "two.json")})).
		To(MatchError(And(ContainSubstring("has left no report"), ContainSubstring("two.json"), ContainSubstring("two.xml"))))
	reports, err := read(all)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(count(reports).passed).To(Equal(1))
}
