package fabric

import "math"

// never is later than any frame is due.
const never = math.MaxInt64

// held is a frame under way.
type held struct {
	due int64 // nanoseconds of the scheduler's clock
	seq uint64
	f   *frame
}

func (h held) before(o held) bool { return h.due < o.due || h.due == o.due && h.seq < o.seq }

// delayLine holds frames until they are due. Nearly all come in the order in which they are due and wait in a ring; the
// others, sent ahead or after a change to a shorter delay, wait in a heap. It neither locks nor bounds itself.
type delayLine struct {
	ring     []held // its length is a power of two
	first, n int
	early    []held
	seq      uint64
	memory   int // bytes of the buffers of what is held
}

// push holds a frame.
func (d *delayLine) push(f *frame, due int64) {
	h := held{due: due, seq: d.seq, f: f}
	d.seq++
	d.memory += cap(f.buf)
	if d.n > 0 && due < d.at(d.n-1).due {
		d.pushEarly(h)
		return
	}
	if d.n == len(d.ring) {
		d.grow()
	}
	d.n++
	*d.at(d.n - 1) = h
}

func (d *delayLine) at(i int) *held { return &d.ring[(d.first+i)&(len(d.ring)-1)] }

func (d *delayLine) grow() {
	ring := make([]held, max(64, 2*len(d.ring)))
	for i := range d.n {
		ring[i] = *d.at(i)
	}
	d.ring, d.first = ring, 0
}

// head is when the next frame is due, or never.
func (d *delayLine) head() int64 {
	due := int64(never)
	if d.n > 0 {
		due = d.at(0).due
	}
	if len(d.early) > 0 {
		due = min(due, d.early[0].due)
	}
	return due
}

// pop appends to batch frames that are due, with when they were, as long as it has room.
func (d *delayLine) pop(batch []held, now int64) []held {
	for len(batch) < cap(batch) && d.head() <= now {
		batch = append(batch, d.popFirst())
	}
	return batch
}

// popFirst takes the next frame out; there must be one.
func (d *delayLine) popFirst() held {
	var h held
	if d.n == 0 || len(d.early) > 0 && d.early[0].before(*d.at(0)) {
		h = d.popEarly()
	} else {
		p := d.at(0)
		h = *p
		p.f = nil
		d.first = (d.first + 1) & (len(d.ring) - 1)
		d.n--
	}
	d.memory -= cap(h.f.buf)
	return h
}

func (d *delayLine) pushEarly(h held) {
	d.early = append(d.early, h)
	for i := len(d.early) - 1; i > 0; {
		up := (i - 1) / 2
		if !d.early[i].before(d.early[up]) {
			return
		}
		d.early[i], d.early[up] = d.early[up], d.early[i]
		i = up
	}
}

func (d *delayLine) popEarly() held {
	h, last := d.early[0], len(d.early)-1
	d.early[0] = d.early[last]
	d.early[last] = held{}
	d.early = d.early[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && d.early[child].before(d.early[least]) {
				least = child
			}
		}
		if least == i {
			return h
		}
		d.early[i], d.early[least] = d.early[least], d.early[i]
		i = least
	}
}
