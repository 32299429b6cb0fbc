package fabric

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"ionlab/internal/fabric/impair"
)

// A probe is a frame of the EtherType for local experiments (IEEE 802) that carries its number three times: one bit of it
// may get inverted on the way.
const (
	probeType = 0x88b5
	probeLen  = 60 // the shortest frame of Ethernet, without its checksum
	// probeGrace is how late the last probe may be before it counts as lost.
	probeGrace = 300 * time.Millisecond
)

// flight is probes under way through one copy of a stage.
type flight struct {
	pool   *framePool
	accept func([]*frame)
	end    func()

	mu     sync.Mutex
	probes []probe // by number
	left   int     // to arrive
	latest time.Time
	all    chan struct{} // tells that none is left, perhaps too often
}

// probe is when a frame was sent, and when it arrived first; that is zero until it has.
type probe struct {
	sent, came time.Time
	vague      bool // The host was busy with other things while it was sent.
}

// fly begins a flight through a copy of the link's stage, whose luck is named by purpose, and which is changed by change.
// Where nothing is in the way, nor is anything in the way of the flight.
func (l *Link) fly(d Direction, purpose string, change func(*impair.Impairment)) *flight {
	f := &flight{pool: l.sw.pool, end: func() {}, all: make(chan struct{}, 1)}
	box := l.stages[d].Load()
	if box == nil {
		f.accept = f.arrive
		return f
	}
	f.accept = box.accept
	if p, ok := box.stage.(probed); ok {
		var s stage
		s, f.end = p.probe(purpose, change, f.arrive)
		f.accept = s.accept
	}
	return f
}

// send sends n probes at once.
func (f *flight) send(n, size int) {
	batch := make([]*frame, n)
	f.mu.Lock()
	first := len(f.probes)
	for i := range batch {
		batch[i] = newProbe(f.pool, first+i, size)
	}
	now := time.Now()
	for range batch {
		f.probes = append(f.probes, probe{sent: now})
	}
	f.left += n
	f.latest = now
	f.mu.Unlock()
	f.accept(batch)
	if time.Since(now) > timelyWithin {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range n {
			f.probes[first+i].vague = true
		}
	}
}

// arrive takes probes from the stage.
func (f *flight) arrive(batch []*frame) {
	now := time.Now()
	f.mu.Lock()
	for _, one := range batch {
		f.note(probeNumber(one), now)
	}
	f.mu.Unlock()
	f.pool.release(batch)
}

func (f *flight) note(number int, now time.Time) {
	f.latest = now
	if number >= len(f.probes) || !f.probes[number].came.IsZero() {
		return // A duplicate.
	}
	f.probes[number].came = now
	f.left--
	if f.left == 0 {
		select {
		case f.all <- struct{}{}:
		default:
		}
	}
}

// wait waits until all probes have arrived, or those that have not must be lost: longest is how long one may be under way
// when nothing has moved since.
func (f *flight) wait(ctx context.Context, longest time.Duration) {
	for {
		f.mu.Lock()
		left, until := f.left, f.latest.Add(longest+probeGrace)
		f.mu.Unlock()
		rest := time.Until(until)
		if left == 0 || rest <= 0 {
			return
		}
		timer := time.NewTimer(rest)
		select {
		case <-f.all:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// landed ends the flight and returns its probes.
func (f *flight) landed() []probe {
	f.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.probes
}

func newProbe(pool *framePool, number, size int) *frame {
	f := pool.get(size)
	b := f.bytes()
	clear(b)
	b[0], b[6] = 2, 2 // Locally administered addresses.
	binary.BigEndian.PutUint16(b[12:], probeType)
	for i := range 3 {
		binary.BigEndian.PutUint32(b[headerLen+4*i:], uint32(number))
	}
	return f
}

// probeNumber is the number that two of the three agree on, bit by bit.
func probeNumber(f *frame) int {
	b := f.bytes()[headerLen:]
	x, y, z := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	return int(x&y | y&z | x&z)
}
