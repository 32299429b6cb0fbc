package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// report is what the benchmark found.
type report struct {
	Commit      string        `json:"commit"`
	Began       time.Time     `json:"began"`
	Took        time.Duration `json:"took_ns"`
	Accelerator string        `json:"accelerator"`
	Processors  int           `json:"processors"`
	LoadBefore  string        `json:"load_before"`
	LoadAfter   string        `json:"load_after"`
	Rows        []*row        `json:"rows"`
}

// row is one thing done both ways in turn.
type row struct {
	Name  string  `json:"name"`
	Plain string  `json:"plain_way"`
	Unit  string  `json:"unit"`
	Ours  sample  `json:"ours"`
	Their sample  `json:"plain"`
	Ratio float64 `json:"ratio"` // of the medians: ours by the plain way's
	// The processors' time for it, in the same unit.
	OurWork   sample  `json:"ours_work"`
	TheirWork sample  `json:"plain_work"`
	WorkRatio float64 `json:"work_ratio"`
	Aim       float64 `json:"aim"`  // the most that Ratio may be; 0 for none
	Load      string  `json:"load"` // when it was measured
}

// ratio updates WorkRatio and Ratio and returns the latter; 0 while one of the two is missing.
func (r *row) ratio() float64 {
	if r.TheirWork.Median > 0 {
		r.WorkRatio = r.OurWork.Median / r.TheirWork.Median
	}
	if r.Their.Median > 0 {
		r.Ratio = r.Ours.Median / r.Their.Median
	}
	return r.Ratio
}

// verdict says whether the aim is met.
func (r *row) verdict() string {
	switch {
	case r.Aim == 0:
		return ""
	case r.ratio() == 0:
		return "not measured"
	case r.ratio() <= r.Aim:
		return "met"
	}
	return "missed"
}

// unmet are the rows whose aims are not met.
func (r *report) unmet() (rows []*row) {
	for _, row := range r.Rows {
		if verdict := row.verdict(); verdict != "" && verdict != "met" {
			rows = append(rows, row)
		}
	}
	return rows
}

// markdown writes the table.
func (r *report) markdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Commit %s, %s, %d processors, %s; took %s; load %s before, %s after.\n", r.Commit, r.Accelerator, r.Processors,
		r.Began.UTC().Format("2006-01-02 15:04 MST"), r.Took.Round(time.Second), r.LoadBefore, r.LoadAfter)
	fmt.Fprintf(&b, "Medians, with the least and the most of all rounds. Both ways were measured in turn.\n\n")
	fmt.Fprintf(&b, "| | unit | ionlab | the plain way | ratio | aim | | processor time | rounds | load | plain way |\n|---|---|---:|---:|---:|---:|---|---:|---:|---:|---|\n")
	for _, row := range r.Rows {
		aim := ""
		if row.Aim > 0 {
			aim = "≤ " + number(row.Aim)
		}
		ratio, work := "", ""
		if row.ratio() > 0 {
			ratio = number(row.Ratio)
		}
		if row.WorkRatio > 0 {
			work = fmt.Sprintf("%s / %s = %s", number(row.OurWork.Median), number(row.TheirWork.Median), number(row.WorkRatio))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %d | %s | %s |\n", row.Name, row.Unit, &row.Ours, &row.Their, ratio, aim,
			row.verdict(), work, len(row.Ours.Values), row.Load, row.Plain)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// save writes lab.json and lab.md.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var table bytes.Buffer
	if err := r.markdown(&table); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "lab.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "lab.md"), table.Bytes(), 0o644),
	)
}
