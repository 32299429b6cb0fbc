package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// contest is one thing that can be done in several ways, each of which returns what it cost, in its row's unit.
type contest struct {
	ours  func(context.Context) (cost, error)
	plain []plainWay
}

// plainWay is how it is done without ionlab, and the row in which that stands beside ours.
type plainWay struct {
	row row
	do  func(context.Context) (cost, error)
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
		spent, err := c.plain[way-1].do(ctx)
		if err != nil {
			return fmt.Errorf("the plain way: %w", err)
		}
		c.plain[way-1].row.Their.add(spent.took)
		c.plain[way-1].row.TheirWork.add(spent.work)
		return nil
	}
	spent, err := c.ours(ctx)
	if err != nil {
		return fmt.Errorf("ionlab: %w", err)
	}
	for i := range c.plain {
		c.plain[i].row.Ours.add(spent.took)
		c.plain[i].row.OurWork.add(spent.work)
	}
	return nil
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
