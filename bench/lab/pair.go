package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// pair is one thing that can be done both ways. Each way returns what it cost, in the row's unit.
type pair struct {
	row         row
	ours, plain func(context.Context) (float64, error)
}

// run does both ways in turn, so that what else the machine does meets both alike.
func (b *bench) run(ctx context.Context, p pair, rounds int) (*row, error) {
	r := &p.row
	r.Load = load()
	b.report.Rows = append(b.report.Rows, r)
	ways := []struct {
		name string
		do   func(context.Context) (float64, error)
		into *sample
	}{{"ionlab", p.ours, &r.Ours}, {"the plain way", p.plain, &r.Their}}
	for round := range rounds {
		for i := range ways {
			way := ways[(i+round)%2] // neither always has what the other left in the caches
			cost, err := way.do(ctx)
			if err != nil {
				return r, fmt.Errorf("%s, %s, round %d: %w", r.Name, way.name, round+1, err)
			}
			way.into.add(cost)
		}
	}
	b.say("%s: %s beside %s %s, ratio %s %s", r.Name, &r.Ours, &r.Their, r.Unit, number(r.ratio()), r.verdict())
	return r, nil
}

// timed measures seconds.
func timed(do func(context.Context) error) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		began := time.Now()
		err := do(ctx)
		return time.Since(began).Seconds(), err
	}
}

// load is the load average of the last minute, from proc(5)'s loadavg.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
