// Command tally reads Ginkgo's JSON report and prints what failed, what was left out and why, and one closing line
// "N passed, N failed, N skipped". Its exit status is 1 when anything failed or no spec ran, 2 when there is no report.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/onsi/ginkgo/v2/types"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tally REPORT.json")
		os.Exit(2)
	}
	reports, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(2)
	}
	counted := count(reports)
	fmt.Print(counted)
	if !counted.ok() {
		os.Exit(1)
	}
}

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
