// Command tally reads Ginkgo's JSON report and prints what failed, what was left out and why, and one closing line
// "N passed, N failed, N skipped". Its exit status is 1 when anything failed or no spec ran, 2 when there is no report.
//
// With more arguments the report is made first, from those of several runs, and the JUnit beside it from the JUnit beside
// each of them. They become one; a run that has left none makes the exit status 2.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: tally REPORT.json [PART.json...]")
		os.Exit(2)
	}
	var merging error
	if parts := os.Args[2:]; len(parts) > 0 {
		merging = merge(os.Args[1], parts)
	}
	reports, err := read(os.Args[1])
	counted := count(reports)
	if err == nil {
		fmt.Print(counted)
	}
	switch err := errors.Join(merging, err); {
	case err != nil:
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(2)
	case !counted.ok():
		os.Exit(1)
	}
}

// merge makes one report of several, and one JUnit. Parts that are not there do not keep the others from it.
func merge(report string, parts []string) error {
	jsonSays, err := reporters.MergeAndCleanupJSONReports(parts, report)
	if err != nil {
		return fmt.Errorf("merge the reports into %s: %w", report, err)
	}
	junits := make([]string, len(parts))
	for i, part := range parts {
		junits[i] = junitOf(part)
	}
	junitSays, err := reporters.MergeAndCleanupJUnitReports(junits, junitOf(report))
	if err != nil {
		return fmt.Errorf("merge the reports into %s: %w", junitOf(report), err)
	}
	if says := slices.Concat(jsonSays, junitSays); len(says) > 0 {
		return fmt.Errorf("a run of the suites has left no report: %s", strings.Join(says, "; "))
	}
	return nil
}

func junitOf(report string) string { return strings.TrimSuffix(report, ".json") + ".xml" }

func read(path string) ([]types.Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the report that the suites should have written: %w", err)
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return reports, nil
}
