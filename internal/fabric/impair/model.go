package impair

import "time"

// headerBytes are not corrupted: with another address a frame would be another machine's.
const headerBytes = 14

// Model decides what becomes of the frames on one direction of a link. Times are durations since any one moment. Its
// methods must not be called concurrently.
type Model struct {
	plan
	lost, spread, ahead, twice, broken stream

	bad  bool    // in the bad state of GilbertElliott
	free float64 // when the rate has sent all that waits, in nanoseconds
	last float64 // when the last frame arrives that keeps the order, in nanoseconds
}

// plan is an impairment as the model wants it.
type plan struct {
	Impairment
	loss, enter, leave, lossGood, lossBad, reorder, duplicate, corrupt chance
	bursts                                                             bool
	perByte                                                            float64 // nanoseconds; 0 without a rate
	room                                                               float64 // nanoseconds of sending that may wait
}

// Fate is whether a frame arrives.
type Fate int

// The fates of a frame.
const (
	// Passed frames arrive at Verdict.Due.
	Passed Fate = iota
	// Lost frames do not arrive.
	Lost
	// QueueFull frames found no room in the queue of the rate.
	QueueFull
)

// Verdict is what becomes of a frame.
type Verdict struct {
	Fate Fate
	// Due is when the frame arrives.
	Due time.Duration
	// Reordered tells that it overtakes one under way.
	Reordered bool
	// Duplicated tells that a copy arrives at CopyDue.
	Duplicated bool
	CopyDue    time.Duration
	// Corrupted tells that Bit of the frame, counted from its first byte's most significant one, is to be inverted.
	Corrupted bool
	Bit       int
}

// New makes a model that does nothing until Set tells it what.
func New(key Key) *Model {
	return &Model{
		lost: key.stream("loss"), spread: key.stream("jitter"), ahead: key.stream("reorder"),
		twice: key.stream("duplicate"), broken: key.stream("corrupt"),
	}
}

// Set puts a valid impairment in force from the next frame on. What is under way stays as decided; where the delay or the
// rate changes, what follows neither waits for it nor queues behind it. The random sequences go on.
func (m *Model) Set(i Impairment) {
	before := m.Impairment
	m.plan = planOf(i)
	if i.Bursts != before.Bursts {
		m.bad = false
	}
	rated := i.RateBits == before.RateBits
	if !rated {
		m.free = 0
	}
	if !rated || i.Delay != before.Delay || i.Jitter != before.Jitter || i.Distribution != before.Distribution {
		m.last = 0
	}
}

// Clear forgets what is under way and what waits for the rate: the next frame finds an idle link. The random sequences go on.
func (m *Model) Clear() { m.free, m.last = 0, 0 }

func planOf(i Impairment) plan {
	g := i.Bursts
	p := plan{
		Impairment: i, bursts: !g.IsZero(),
		loss: chanceOf(i.LossPercent), enter: chanceOf(g.EnterPercent), leave: chanceOf(g.LeavePercent),
		lossGood: chanceOf(g.LossGoodPercent), lossBad: chanceOf(g.LossBadPercent),
		reorder: chanceOf(i.ReorderPercent), duplicate: chanceOf(i.DuplicatePercent), corrupt: chanceOf(i.CorruptPercent),
	}
	if i.RateBits == 0 {
		return p
	}
	p.perByte = 8e9 / i.RateBits
	switch {
	case i.QueueBytes > 0:
		p.room = float64(i.QueueBytes) * p.perByte
	case i.QueueTime > 0:
		p.room = float64(i.QueueTime)
	default:
		p.room = max(float64(DefaultQueueTime), DefaultQueueBytes*p.perByte)
	}
	return p
}

// Frame decides about a frame of size bytes that arrives at the link now. Every kind of impairment that is on draws for
// every frame, also for one that another kind does away with: so the n-th frame's luck with one does not depend on the
// others.
func (m *Model) Frame(now time.Duration, size int) Verdict {
	lost := m.loses()
	delay := m.delay()
	ahead := m.reorder > 0 && m.ahead.happens(m.reorder)
	twice := m.duplicate > 0 && m.twice.happens(m.duplicate)
	var v Verdict
	v.Corrupted, v.Bit = m.corrupts(size)
	if lost {
		v.Fate = Lost
		return v
	}
	sent, ok := m.send(now, size)
	if !ok {
		v.Fate = QueueFull
		return v
	}
	v.Due, v.Reordered = m.arrive(sent, delay, ahead)
	if !twice {
		return v
	}
	if sent, ok = m.send(now, size); ok {
		v.Duplicated = true
		v.CopyDue, _ = m.arrive(sent, delay, ahead)
	}
	return v
}

// loses draws whether the next frame is lost.
func (m *Model) loses() bool {
	if !m.bursts {
		return m.loss > 0 && m.lost.happens(m.loss)
	}
	loss, change := m.lossGood, m.enter
	if m.bad {
		loss, change = m.lossBad, m.leave
	}
	lost := m.lost.happens(loss)
	if m.lost.happens(change) {
		m.bad = !m.bad
	}
	return lost
}

// delay draws the next frame's, in nanoseconds.
func (m *Model) delay() float64 {
	d := float64(m.Delay)
	if m.Jitter > 0 {
		d += float64(m.Jitter) * m.spread.spread(m.Distribution)
	}
	return max(0, d)
}

func (m *Model) corrupts(size int) (corrupted bool, bit int) {
	if m.corrupt == 0 || !m.broken.happens(m.corrupt) {
		return false, 0
	}
	number := m.broken.rand.Uint64()
	if size <= headerBytes {
		return false, 0
	}
	return true, 8*headerBytes + int(number%uint64(8*(size-headerBytes)))
}

// send queues a frame behind those that wait for the rate and returns when its last bit is sent.
func (m *Model) send(now time.Duration, size int) (sent float64, ok bool) {
	at := float64(now)
	if m.perByte == 0 {
		return at, true
	}
	takes := float64(size) * m.perByte
	waiting := m.free - at
	if waiting <= 0 {
		waiting = 0
	} else if waiting+takes > m.room+1 { // One nanosecond for what rounding adds up to.
		return 0, false
	}
	m.free = at + waiting + takes
	return m.free, true
}

// arrive is when a frame arrives that the rate sent at a time. All but those sent ahead keep their order.
func (m *Model) arrive(sent, delay float64, ahead bool) (due time.Duration, overtakes bool) {
	if ahead {
		return time.Duration(sent), sent < m.last
	}
	m.last = max(m.last, sent+delay)
	return time.Duration(m.last), false
}
