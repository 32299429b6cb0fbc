package image

import (
	"sync"
	"time"
)

// Event tells how far the work on an image is. Stages: wait, download, packages, configure, archive, unpack, lists, install,
// disk, convert, import, hash, ready.
type Event struct {
	// Image is the name that the caller asked for.
	Image string
	// Stage is one word.
	Stage string
	// Done and Total count bytes; Total is 0 where it is not known, both are 0 where the stage is not about bytes.
	Done, Total int64
	// Note is a short text for a human, or empty.
	Note string
}

// progressEvery bounds the rate of events of one stage: a terminal needs no more, and a callback may be slow.
const progressEvery = 200 * time.Millisecond

// reporter sends the events of one piece of work, rate-limited, to the store's Progress.
type reporter struct {
	image string
	send  func(Event)
	now   func() time.Time

	mu    sync.Mutex
	stage string
	last  time.Time
}

func (s *Store) report(image string) *reporter {
	return &reporter{image: image, send: s.cfg.Progress, now: s.cfg.Now}
}

// begin announces a stage; it is never dropped.
func (r *reporter) begin(stage, note string) {
	r.emit(Event{Stage: stage, Note: note}, func(bool) bool { return true })
}

// line reports a tool's output; most lines are dropped.
func (r *reporter) line(stage, note string) {
	r.emit(Event{Stage: stage, Note: note}, func(due bool) bool { return due })
}

// bytes reports progress in bytes; the last step is never dropped.
func (r *reporter) bytes(stage string, done, total int64) {
	r.emit(Event{Stage: stage, Done: done, Total: total}, func(due bool) bool { return due || done == total })
}

func (r *reporter) emit(e Event, wanted func(due bool) bool) {
	if r.send == nil {
		return
	}
	e.Image = r.image
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !wanted(e.Stage != r.stage || now.Sub(r.last) >= progressEvery) {
		return
	}
	r.stage, r.last = e.Stage, now
	r.send(e)
}
