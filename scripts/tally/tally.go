package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// tally is what the suites' reports come to. Lines name a suite and a spec each.
type tally struct {
	passed, skipped int
	// leftOut were not asked for: the label filter excludes them.
	leftOut []string
	// excused called Skip. A skip is not a pass, so they count as failed.
	excused []string
	failed  []string
}

func count(reports []types.Report) tally {
	var t tally
	for i := range reports {
		t.addSuite(&reports[i])
	}
	return t
}

func (t *tally) addSuite(suite *types.Report) {
	before := len(t.failed) + len(t.excused)
	wanted := filterOf(suite)
	for i := range suite.SpecReports {
		t.addSpec(suite, &suite.SpecReports[i], wanted)
	}
	if !suite.SuiteSucceeded && len(t.failed)+len(t.excused) == before {
		reason := brief(strings.Join(suite.SpecialSuiteFailureReasons, "; "))
		if reason == "" {
			reason = "the suite failed without naming a spec"
		}
		t.failed = append(t.failed, fmt.Sprintf("%s: %s", suiteName(suite), reason))
	}
}

func (t *tally) addSpec(suite *types.Report, spec *types.SpecReport, wanted types.LabelFilter) {
	isSpec := spec.LeafNodeType.Is(types.NodeTypeIt)
	name := fmt.Sprintf("%s: %s", suiteName(suite), specName(spec))
	switch {
	case spec.State.Is(types.SpecStateFailureStates):
		t.failed = append(t.failed, fmt.Sprintf("%s: %s (%s)", name, brief(spec.Failure.Message), spec.Failure.Location))
	case spec.State.Is(types.SpecStateSkipped) && spec.Failure.Message != "":
		t.excused = append(t.excused, fmt.Sprintf("%s: %s", name, brief(spec.Failure.Message)))
	case !isSpec:
		// Suite nodes and reporters count only when they fail.
	case spec.State.Is(types.SpecStatePassed):
		t.passed++
	default:
		t.skipped++
		if labels := labelsOf(suite, spec); !wanted(labels) {
			t.leftOut = append(t.leftOut, fmt.Sprintf("%s [%s]", name, strings.Join(labels, ", ")))
		}
	}
}

// filterOf returns the suite's label filter. Ginkgo has parsed it before; one that does not parse excludes nothing.
func filterOf(suite *types.Report) types.LabelFilter {
	filter, err := types.ParseLabelFilter(suite.SuiteConfig.LabelFilter)
	if err != nil {
		return func([]string) bool { return true }
	}
	return filter
}

func labelsOf(suite *types.Report, spec *types.SpecReport) []string {
	labels := append([]string{}, suite.SuiteLabels...)
	return append(labels, spec.Labels()...)
}

func suiteName(suite *types.Report) string {
	return filepath.Base(suite.SuitePath)
}

func specName(spec *types.SpecReport) string {
	if text := spec.FullText(); text != "" {
		return text
	}
	return "[" + spec.LeafNodeType.String() + "]"
}

// brief puts a message on one line of bearable length.
func brief(message string) string {
	const longest = 200
	line := []rune(strings.Join(strings.Fields(message), " "))
	if len(line) > longest {
		return string(line[:longest]) + "..."
	}
	return string(line)
}

func (t tally) ok() bool {
	return t.passed > 0 && len(t.failed) == 0 && len(t.excused) == 0
}

// String ends with the one line that CI reads.
func (t tally) String() string {
	var out strings.Builder
	section := func(heading string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&out, "%s:\n  %s\n", heading, strings.Join(lines, "\n  "))
	}
	section("left out by the label filter", t.leftOut)
	section("skipped while running, which counts as failed here", t.excused)
	section("failed", t.failed)
	if t.passed+len(t.failed)+len(t.excused) == 0 {
		out.WriteString("no spec ran, which counts as failed here\n")
	}
	fmt.Fprintf(&out, "%d passed, %d failed, %d skipped\n", t.passed, len(t.failed)+len(t.excused), t.skipped)
	return out.String()
}
