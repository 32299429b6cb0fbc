package fabric

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	tableAge     = 5 * time.Minute // IEEE 802.1Q-2018, table 8-6
	tablePerPort = 1024            // a guest that invents source addresses crowds out no other port
	sweepEvery   = time.Second
)

// table knows behind which port an address was seen last. Its methods may be called concurrently.
type table struct {
	mu      sync.RWMutex
	entries map[mac]*tableEntry
	perPort []int
	swept   int64
}

type tableEntry struct {
	port int
	// fixed entries are the fabric's own endpoints: they neither age nor move.
	fixed bool
	seen  atomic.Int64 // nanoseconds of the switch's clock
}

func newTable() *table { return &table{entries: make(map[mac]*tableEntry)} }

// fix ties an address to a port for good.
func (t *table) fix(m mac, port int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[m] = &tableEntry{port: port, fixed: true}
}

// lookup finds the port of m; an entry past its age is none.
func (t *table) lookup(m mac, now time.Time) (port int, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.entries[m]
	if e == nil || !e.fixed && now.UnixNano()-e.seen.Load() > int64(tableAge) {
		return 0, false
	}
	return e.port, true
}

// learn notes that m sent from port. It returns false where m belongs to an endpoint of the fabric on another port.
func (t *table) learn(m mac, port int, now time.Time) bool {
	t.mu.RLock()
	e := t.entries[m]
	known := e != nil && e.port == port
	if known {
		e.seen.Store(now.UnixNano())
	}
	t.mu.RUnlock()
	if known {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.learnLocked(m, port, now.UnixNano())
}

func (t *table) learnLocked(m mac, port int, now int64) bool {
	e := t.entries[m]
	switch {
	case e != nil && e.fixed:
		return e.port == port
	case e != nil:
		t.perPort[e.port]--
		delete(t.entries, m)
	}
	if t.perPort[port] >= tablePerPort && now-t.swept > int64(sweepEvery) {
		t.sweepLocked(now)
	}
	if t.perPort[port] >= tablePerPort {
		return true
	}
	e = &tableEntry{port: port}
	e.seen.Store(now)
	t.entries[m] = e
	t.perPort[port]++
	return true
}

func (t *table) sweepLocked(now int64) {
	t.swept = now
	for m, e := range t.entries {
		if !e.fixed && now-e.seen.Load() > int64(tableAge) {
			t.perPort[e.port]--
			delete(t.entries, m)
		}
	}
}

func (t *table) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.entries)
}
