package fabric

import (
	"sync"
	"sync/atomic"
	"time"

	"ionlab/internal/fabric/impair"
)

// laneMemory bounds the buffers of the frames that one direction of a link may hold: 32 768 frames of usual size, such as
// 100 Mbit/s for 4 s.
const laneMemory = 64 << 20

// lane is a link's conditions in one direction at work: it asks the model about each frame and holds those under way. It is
// a stage. Whoever finds frames due delivers them, the sender of later ones or the scheduler, one of them at a time, so
// that frames keep their order.
type lane struct {
	key       impair.Key
	counts    *counters
	pool      *framePool
	scheduler *scheduler
	next      func([]*frame)
	// stamps is set in the direction of egress, where frames are nobody else's, so that when they were due can be noted in
	// them for the ingress lane.
	stamps bool
	// head is when the next frame is due; never while somebody delivers.
	head atomic.Int64

	mu         sync.Mutex
	model      *impair.Model
	line       delayLine
	delivering bool
	due        []held   // of the one who delivers, as is
	out        []*frame // this
}

func newLane(l *Link, d Direction, key impair.Key, s *scheduler) *lane {
	a := &lane{
		key: key, counts: &l.counts, pool: l.sw.pool, scheduler: s, next: l.next[d], stamps: d == Egress, model: impair.New(key),
		due: make([]held, 0, maxBatch), out: make([]*frame, 0, maxBatch),
	}
	a.head.Store(never)
	s.add(a)
	return a
}

// set changes what the lane does from the next frame on.
func (a *lane) set(i impair.Impairment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.model.Set(i)
}

// accept implements stage.
func (a *lane) accept(batch []*frame) {
	now := a.scheduler.now()
	var t tally
	a.mu.Lock()
	for _, f := range batch {
		a.judge(f, now, &t)
	}
	a.deliver(now)
	t.addTo(a.counts)
}

// tally is what happened to the frames of a batch.
type tally struct{ lost, full, overflow, duplicated, reordered, corrupted int }

func (t *tally) addTo(c *counters) {
	if *t == (tally{}) {
		return
	}
	c.dropped(Lost, t.lost)
	c.dropped(QueueFull, t.full)
	c.dropped(Overflow, t.overflow)
	c.duplicated.Add(uint64(t.duplicated))
	c.reordered.Add(uint64(t.reordered))
	c.corrupted.Add(uint64(t.corrupted))
}

// judge holds a frame until it is due, or drops it. It is called with the lock held.
func (a *lane) judge(f *frame, now int64, t *tally) {
	// A frame that its egress lane delivered late is not to be late a second time.
	if !a.stamps && f.at > 0 {
		now = min(now, f.at)
	}
	v := a.model.Frame(time.Duration(now), f.len())
	switch v.Fate {
	case impair.Lost:
		t.lost++
		a.release(f)
		return
	case impair.QueueFull:
		t.full++
		a.release(f)
		return
	}
	if v.Corrupted {
		t.corrupted++
		f = a.corrupt(f, v.Bit)
	}
	var twin *frame
	if v.Duplicated { // A real copy: each bears the time at which it was due.
		twin = a.copy(f)
	}
	if a.hold(f, v.Due, t) && v.Reordered {
		t.reordered++
	}
	if twin != nil && a.hold(twin, v.CopyDue, t) {
		t.duplicated++
	}
}

// hold puts a frame into the line, unless that holds too much.
func (a *lane) hold(f *frame, due time.Duration, t *tally) bool {
	if a.line.memory+cap(f.buf) > laneMemory {
		t.overflow++
		a.release(f)
		return false
	}
	a.line.push(f, int64(due))
	return true
}

// corrupt returns a copy of f with one bit inverted: f may be in other hands too.
func (a *lane) corrupt(f *frame, bit int) *frame {
	c := a.copy(f)
	c.bytes()[bit/8] ^= 0x80 >> (bit % 8)
	a.release(f)
	return c
}

func (a *lane) copy(f *frame) *frame {
	c := a.pool.get(f.len())
	copy(c.bytes(), f.bytes())
	c.origin = f.origin
	return c
}

func (a *lane) release(f *frame) {
	one := [1]*frame{f}
	a.pool.release(one[:])
}

// flush delivers what is due.
func (a *lane) flush(now int64) {
	a.mu.Lock()
	a.deliver(now)
}

// deliver hands on what was due at a time, unless somebody is at it already, who then sees to it that the rest is
// delivered. It is called with the lock held and gives it back.
func (a *lane) deliver(now int64) {
	if a.delivering {
		a.mu.Unlock()
		return
	}
	a.delivering = true
	a.head.Store(never)
	for a.take(now) {
		a.mu.Unlock()
		a.next(a.out)
		a.mu.Lock()
	}
	a.delivering = false
	head := a.line.head()
	a.head.Store(head)
	a.mu.Unlock()
	a.scheduler.wakeAt(head)
}

// take moves frames that are due out of the line, and reports whether there were any.
func (a *lane) take(now int64) bool {
	clear(a.out)
	a.due, a.out = a.line.pop(a.due[:0], now), a.out[:0]
	for i, h := range a.due {
		if a.stamps {
			h.f.at = h.due
		}
		a.out = append(a.out, h.f)
		a.due[i].f = nil
	}
	return len(a.out) > 0
}

// empty gives up what is held, and with it the queue of the rate.
func (a *lane) empty() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.line.head() < never {
		a.release(a.line.popFirst().f)
	}
	a.head.Store(never)
	a.model.Clear()
}
