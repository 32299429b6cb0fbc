package fabric

import (
	"sort"
	"sync"
	"time"

	"ionlab/internal/fabric/impair"
)

const (
	pulsePeriod = 500 * time.Microsecond
	// timelyWithin is how late a probe may be that counts, where the delays are short: at least two periods, for these pass
	// between the beats around an arrival.
	timelyWithin = 3 * pulsePeriod
)

// pulse tells when the scheduler was in time. A busy host lets it sleep over what is due, so that probes seem to have been
// under way for longer than they were. While it is awake, a frame of the pulse comes by every half a millisecond; a
// scheduler that delivers one delivers all that is due. So a probe that arrives soon after a beat was not due long before.
type pulse struct {
	stage *lane

	mu    sync.Mutex
	ended bool
	beats []time.Time
}

// newPulse starts a pulse that the caller stops.
func newPulse(s *scheduler, pool *framePool) *pulse {
	p := new(pulse)
	p.stage = newProbeLane(s, pool, impair.Key{Direction: "pulse"}, impair.Impairment{Delay: pulsePeriod}, p.beat)
	p.stage.accept([]*frame{newProbe(pool, 0, probeLen)})
	return p
}

// beat notes the time and sends the frame on its way again.
func (p *pulse) beat(batch []*frame) {
	p.mu.Lock()
	ended := p.ended
	p.beats = append(p.beats, time.Now())
	p.mu.Unlock()
	if ended {
		p.stage.pool.release(batch)
		return
	}
	p.stage.accept(batch)
}

// stop ends the pulse.
func (p *pulse) stop() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.stage.retire()
}

// timely reports whether what arrived at a time had not been due for longer than within. The beat before that may have been of the same
// round of the scheduler and tells nothing; the one before it does.
func (p *pulse) timely(at time.Time, within time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := sort.Search(len(p.beats), func(i int) bool { return p.beats[i].After(at) })
	return n >= 2 && at.Sub(p.beats[n-2]) <= within
}
