package main

import (
	"fmt"
	"time"

	"ionlab/internal/lab"
)

// stages are what the parts of a warm start took, each on the node where it took longest.
type stages struct {
	names []string
	took  map[string]*sample
}

// add takes a lab that was up after some time; its first command took another.
func (s *stages) add(l *lab.Lab, up, command time.Duration) {
	longest := map[string]time.Duration{}
	var order []string
	for _, node := range l.Nodes() {
		for _, stage := range node.Stages() {
			if _, ok := longest[stage.Stage]; !ok {
				order = append(order, stage.Stage)
			}
			longest[stage.Stage] = max(longest[stage.Stage], stage.Took)
		}
	}
	rest := up
	for _, name := range order {
		s.note(name, longest[name])
		rest -= longest[name]
	}
	s.note("first command", command)
	s.note("the rest: libvirtd, networks, digests", rest)
}

func (s *stages) note(name string, took time.Duration) {
	if s.took == nil {
		s.took = map[string]*sample{}
	}
	if s.took[name] == nil {
		s.names, s.took[name] = append(s.names, name), &sample{}
	}
	s.took[name].add(took.Seconds())
}

func (s *stages) rows(nodes int) (rows []*row) {
	for _, name := range s.names {
		rows = append(rows, &row{Name: fmt.Sprintf("of the warm start of %s: %s", machines(nodes), name), Unit: "s", Ours: *s.took[name], Load: load()})
	}
	return rows
}
