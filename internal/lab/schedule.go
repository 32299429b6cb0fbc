package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Timeline is a list of steps that follow one another, from the beginning again when Repeat is set.
type Timeline struct {
	Steps  []Step
	Repeat bool
}

// Step is one change of a Timeline.
type Step struct {
	// After is the time since the step before was due, or since the beginning.
	After time.Duration
	// Do makes the change. Its ctx ends when the schedule is stopped.
	Do func(ctx context.Context) error
}

// shortest is the least time that a timeline which repeats takes for one round, so that it leaves the processor alone.
const shortest = time.Millisecond

// check reports everything that is wrong with a timeline.
func (t Timeline) check() error {
	var errs []error
	var round time.Duration
	for i, step := range t.Steps {
		if step.After < 0 {
			errs = append(errs, fmt.Errorf("step %d comes %s after the one before: time runs forward only", i+1, step.After))
		}
		round += step.After
	}
	switch {
	case len(t.Steps) == 0:
		errs = append(errs, errors.New("it has no steps"))
	case t.Repeat && len(errs) == 0 && round < shortest:
		errs = append(errs, fmt.Errorf("one round takes %s: what repeats has to take %s at least", round, shortest))
	}
	return errors.Join(errs...)
}

// Schedule is a set of timelines that runs. It is safe for concurrent use.
type Schedule struct {
	undo   *Undo
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once
	failed error // set before done is closed
	err    error
}

// Schedule begins to play timelines, all of them from now on, in one goroutine of the lab: of steps that are due at the
// same time, those of the first timeline come first. A step that fails ends it all. What the steps change they have to
// remember in undo, which Stop runs.
func (l *Lab) Schedule(timelines []Timeline, undo *Undo) (*Schedule, error) {
	if len(timelines) == 0 {
		return nil, errors.New("schedule: there is no timeline")
	}
	for i, t := range timelines {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("schedule: timeline %d: %w", i+1, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // it lives as long as the lab, whose Close cancels it.
	s := &Schedule{undo: undo, cancel: cancel, done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.fabric == nil {
		cancel()
		if l.closed {
			return nil, fmt.Errorf("schedule: %w", ErrClosed)
		}
		return nil, errors.New("schedule: the lab was not started")
	}
	l.schedules = append(l.schedules, s)
	go func() {
		defer close(s.done)
		s.failed = play(ctx, timelines)
	}()
	return s, nil
}

// Done is closed when the last step was taken, a step has failed or the schedule was stopped.
func (s *Schedule) Done() <-chan struct{} { return s.done }

// Err is the error of the step that failed, once Done is closed; nil before, and if none did.
func (s *Schedule) Err() error {
	select {
	case <-s.done:
		return s.failed
	default:
		return nil
	}
}

// Stop ends the schedule, waits for the step under way, and brings back how things were before its first step. It
// returns the error of the step that failed, if one did. It may be called more than once.
func (s *Schedule) Stop() error {
	s.once.Do(func() {
		s.cancel()
		<-s.done
		s.err = errors.Join(s.failed, s.undo.Run())
	})
	return s.err
}

// stopSchedules is a part of Close.
func (l *Lab) stopSchedules() {
	l.mu.Lock()
	schedules := l.schedules
	l.schedules = nil
	l.mu.Unlock()
	for _, s := range schedules {
		s.cancel()
	}
	for _, s := range schedules {
		<-s.done // what its steps came to is told by Stop, to who scheduled them
	}
}

// track is how far one timeline has been played.
type track struct {
	Timeline
	next  int
	round int
	due   time.Duration // since the beginning
}

// play takes the steps in time until all are taken, one fails or ctx ends, which is no error. Steps are due by the plan,
// not by when the one before was done: nothing drifts.
func play(ctx context.Context, timelines []Timeline) error {
	began := time.Now()
	tracks := make([]*track, len(timelines))
	for i, t := range timelines {
		tracks[i] = &track{Timeline: t, due: t.Steps[0].After}
	}
	for {
		which := earliest(tracks)
		if which < 0 || !sleepUntil(ctx, began.Add(tracks[which].due)) {
			return nil
		}
		t := tracks[which]
		if err := t.Steps[t.next].Do(ctx); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was stopped in the middle of the step.
			}
			return fmt.Errorf("timeline %d, step %d of %d, %s after the start (round %d): %w",
				which+1, t.next+1, len(t.Steps), t.due, t.round+1, err)
		}
		t.advance()
	}
}

// earliest is the track whose next step is due first, -1 when all are played.
func earliest(tracks []*track) int {
	found := -1
	for i, t := range tracks {
		if t.next < len(t.Steps) && (found < 0 || t.due < tracks[found].due) {
			found = i
		}
	}
	return found
}

func (t *track) advance() {
	t.next++
	if t.next == len(t.Steps) && t.Repeat {
		t.next = 0
		t.round++
	}
	if t.next < len(t.Steps) {
		t.due += t.Steps[t.next].After
	}
}

// sleepUntil waits until then and tells whether ctx let it.
func sleepUntil(ctx context.Context, then time.Time) bool {
	timer := time.NewTimer(time.Until(then))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
