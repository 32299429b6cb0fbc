package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// contest is one thing that can be done in several ways, each of which returns what it cost, in its row's unit.
type contest struct {
	ours  func(context.Context) (float64, error)
	plain []plainWay
}

// plainWay is how it is done without ionlab, and the row in which that stands beside ours.
type plainWay struct {
	row row
	do  func(context.Context) (float64, error)
}

// run does all in turn, so that what else the machine does meets all alike. Who begins changes from round to round: nobody
// always has what another left in the caches. It returns the rows.
func (b *bench) run(ctx context.Context, c contest, rounds int) ([]*row, error) {
	var rows []*row
	for i := range c.plain {
		r := &c.plain[i].row
		r.Load = load()
		rows = append(rows, r)
	}
	b.report.Rows = append(b.report.Rows, rows...)
	ways := len(c.plain) + 1
	for round := range rounds {
		for i := range ways {
			if err := c.turn(ctx, (i+round)%ways); err != nil {
				return rows, fmt.Errorf("%s, round %d: %w", rows[0].Name, round+1, err)
			}
		}
	}
	for _, r := range rows {
		b.say("%s: %s beside %s %s, ratio %s %s", r.Name, &r.Ours, &r.Their, r.Unit, number(r.ratio()), r.verdict())
	}
	return rows, nil
}

// turn does it in one way: 0 is ours.
func (c *contest) turn(ctx context.Context, way int) error {
	if way > 0 {
		cost, err := c.plain[way-1].do(ctx)
		if err != nil {
			return fmt.Errorf("the plain way: %w", err)
		}
		c.plain[way-1].row.Their.add(cost)
		return nil
	}
	cost, err := c.ours(ctx)
	if err != nil {
		return fmt.Errorf("ionlab: %w", err)
	}
	for i := range c.plain {
		c.plain[i].row.Ours.add(cost)
	}
	return nil
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
