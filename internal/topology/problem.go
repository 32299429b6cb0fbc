package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one finding in a topology file.
type Problem struct {
	// File is the name of the file as the caller gave it.
	File string
	// Line and Column count from 1; columns count characters.
	Line, Column int
	// Path is the YAML path, such as nodes[0].ports[1]; empty where the whole file is meant.
	Path string
	// Message says what is wrong.
	Message string
	// Remedy says what would be right.
	Remedy string
}

// String returns the problem on one line: file:line:column: path: message; remedy.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// Problems is the error for a topology that cannot be used: all findings at once, in the order of the file.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// report collects problems.
type report struct {
	file     string
	problems Problems
}

func (r *report) add(at mark, c complaint) {
	r.problems = append(r.problems, Problem{
		File: r.file, Line: max(at.line, 1), Column: max(at.column, 1),
		Path: at.path, Message: c.wrong, Remedy: c.right,
	})
}

// addf is add with a formatted message.
func (r *report) addf(at mark, right, wrong string, args ...any) {
	r.add(at, complaint{wrong: fmt.Sprintf(wrong, args...), right: right})
}

// rejectable is a field of any type.
type rejectable interface{ reject() mark }

func (f *field[T]) reject() mark {
	f.bad = true
	return f.at
}

// reject adds a problem with f and keeps later steps from looking at f again.
func (r *report) reject(f rejectable, c complaint) { r.add(f.reject(), c) }

// sorted returns what was collected, in the order of the file and without repetitions.
func (r *report) sorted() Problems {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
	return slices.Compact(r.problems)
}

// err returns what was collected as an error, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return r.sorted()
}
