package fabric

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// roundGap is the least time between two rounds of a scheduler. It bounds what a busy link costs; frames are late by it at
// most, and what is late once is not late again on its next link.
const roundGap = 50 * time.Microsecond

// scheduler delivers the frames that a fabric's lanes hold when they are due: one goroutine for all of them, which sleeps
// while nothing is held.
type scheduler struct {
	clock func() time.Time
	epoch time.Time
	alarm alarm

	lanes atomic.Pointer[[]*lane] // never changed, but replaced
	armed atomic.Int64            // what the alarm is set to, or never
	rest  atomic.Int64            // no round before this

	mu sync.Mutex // for setting the alarm, and for lanes
}

// alarm wakes the scheduler's goroutine.
type alarm interface {
	// set makes the alarm ring after d; what it was set to before does not count any more.
	set(d time.Duration)
	// wait returns true when the alarm has rung, perhaps more often, and false when it is closed.
	wait() bool
	close() error
}

func newScheduler(clock func() time.Time, a alarm) *scheduler {
	// Times are never 0: that is how a frame without one is told.
	s := &scheduler{clock: clock, epoch: clock().Add(-time.Second), alarm: a}
	s.armed.Store(never)
	s.lanes.Store(new([]*lane))
	return s
}

// now is nanoseconds since a moment before the first frame.
func (s *scheduler) now() int64 { return int64(s.clock().Sub(s.epoch)) }

// add takes a lane into the rounds.
func (s *scheduler) add(a *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lanes := append(slices.Clone(*s.lanes.Load()), a)
	s.lanes.Store(&lanes)
}

// remove leaves a lane out of the rounds to come; one may still be at it.
func (s *scheduler) remove(a *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lanes := slices.DeleteFunc(slices.Clone(*s.lanes.Load()), func(other *lane) bool { return other == a })
	s.lanes.Store(&lanes)
}

// wakeAt sees to it that there is a round at that time, or soon after.
func (s *scheduler) wakeAt(at int64) {
	if at >= s.armed.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < s.armed.Load() {
		s.armed.Store(at)
		s.alarm.set(time.Duration(max(at, s.rest.Load()) - s.now()))
	}
}

// run holds rounds until the alarm is closed.
func (s *scheduler) run() {
	for s.alarm.wait() {
		s.round()
	}
}

// round delivers everything that is due.
func (s *scheduler) round() {
	s.mu.Lock()
	s.armed.Store(never)
	s.mu.Unlock()
	next, now := int64(never), s.now()
	for _, a := range *s.lanes.Load() {
		if a.head.Load() <= now {
			a.flush(now)
		}
		next = min(next, a.head.Load())
	}
	s.rest.Store(s.now() + int64(roundGap))
	s.wakeAt(next)
}

// stop makes run return; what is held stays so.
func (s *scheduler) stop() error { return s.alarm.close() }

// empty gives up what is held.
func (s *scheduler) empty() {
	for _, a := range *s.lanes.Load() {
		a.empty()
	}
}
