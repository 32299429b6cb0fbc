package main

import (
	"fmt"
	"time"

	"ionlab/internal/lab"
)

// stages are what the parts of a warm start took on the node that was up last.
type stages struct {
	names []string
	took  map[string]*sample
}

// add takes a lab that was up after some time; its first command took another.
func (s *stages) add(l *lab.Lab, up, command time.Duration) {
	var last []lab.StageTime
	for _, node := range l.Nodes() {
		if stages := node.Stages(); total(stages) > total(last) {
			last = stages
		}
	}
	for _, stage := range last {
		s.note(stage.Stage, stage.Took)
	}
	s.note("first command", command)
	s.note("the rest: libvirtd, networks, digests", up-total(last))
}

func total(stages []lab.StageTime) (sum time.Duration) {
	for _, stage := range stages {
		sum += stage.Took
	}
	return sum
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
