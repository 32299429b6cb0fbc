package labtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"ionlab/internal/lab"
)

// Schedule is a set of timelines that is played. At the end of the spec, container or suite in which it began it is
// stopped, and what it has changed is brought back; a change that failed fails the spec then. It is safe for concurrent
// use.
type Schedule struct{ inner *lab.Schedule }

// Stop ends the schedule now and brings back what it has changed. It returns the error of the change that failed, if one
// did. It may be called more than once.
func (s *Schedule) Stop() error { return s.inner.Stop() }

// Done is closed when no change is left to be made: the timelines are at their ends, one change has failed, or Stop was
// called.
func (s *Schedule) Done() <-chan struct{} { return s.inner.Done() }

// Wait waits for Done and returns the error of the change that failed, if one did. What was changed stays.
func (s *Schedule) Wait(ctx context.Context) error {
	select {
	case <-s.inner.Done():
		return s.inner.Err()
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of a schedule: %w", context.Cause(ctx))
	}
}

// Schedule plays timelines on no link in particular: their changes may have nothing but Do.
func (l *Lab) Schedule(ctx context.Context, timelines ...Timeline) (*Schedule, error) {
	ginkgo.GinkgoHelper()
	return l.schedule(ctx, "no link", nil, timelines)
}

func (l *Lab) schedule(ctx context.Context, what string, links []*lab.Link, timelines []Timeline) (*Schedule, error) {
	ginkgo.GinkgoHelper()
	if ctx.Value(undoing{}) != nil {
		return nil, errors.New("a schedule cannot begin another: give both timelines to one")
	}
	undo := &lab.Undo{}
	var plan []lab.Timeline
	for i, t := range timelines {
		one := lab.Timeline{Repeat: t.Repeat}
		for j, c := range t.Steps {
			if err := c.check(links); err != nil {
				return nil, fmt.Errorf("schedule: timeline %d, step %d: %w", i+1, j+1, err)
			}
			one.Steps = append(one.Steps, lab.Step{After: c.After, Do: func(ctx context.Context) error {
				return l.apply(context.WithValue(ctx, undoing{}, undo), c, what, links)
			}})
		}
		plan = append(plan, one)
	}
	inner, err := l.inner.Schedule(plan, undo)
	if err != nil {
		return nil, hopeless(err)
	}
	s := &Schedule{inner}
	if _, ok := runningNode(ginkgo.CurrentSpecReport()); ok {
		ginkgo.DeferCleanup(s.Stop)
	}
	return s, nil
}

// check refuses a change that would do nothing.
func (c Change) check(links []*lab.Link) error {
	onLinks := c.Link != "" || c.Impair != (Impairment{})
	switch {
	case !onLinks && c.Do == nil:
		return errors.New("it changes nothing: set Link, Impair or Do")
	case onLinks && len(links) == 0:
		return errors.New("there is no link to change: schedule it on a network or a link")
	case c.Link != "" && c.Link != Down && c.Link != Up && c.Link != Reset:
		return fmt.Errorf("Link is %q; there are %q, %q and %q", c.Link, Down, Up, Reset)
	}
	return nil
}

// apply makes one change.
func (l *Lab) apply(ctx context.Context, c Change, what string, links []*lab.Link) error {
	if c.Link != "" {
		note := fmt.Sprintf("%s: %s", what, c.Link)
		if err := l.change(ctx, note, func(undo *lab.Undo) error { return c.Link.apply(l.inner, links, undo) }); err != nil {
			return err
		}
	}
	if c.Impair != (Impairment{}) {
		if err := l.impair(ctx, what, links, c.Impair); err != nil {
			return err
		}
	}
	if c.Do == nil {
		return nil
	}
	return c.Do(ctx)
}

// apply does it to links of a lab.
func (c LinkChange) apply(inner *lab.Lab, links []*lab.Link, undo *lab.Undo) error {
	if c == Reset {
		return inner.Reset(links, undo)
	}
	for _, link := range links {
		set := link.Up
		if c == Down {
			set = link.Down
		}
		if err := set(undo); err != nil {
			return err
		}
	}
	return nil
}
