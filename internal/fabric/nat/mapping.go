package nat

import "time"

const (
	maxSessions = 512   // of one mapping
	allSessions = 65536 // in total
	sweepEvery  = 10 * time.Second
)

// mapping ties an inside endpoint to an outside one.
type mapping struct {
	protocol        Protocol
	inside, outside endpoint
	// peer is the part of the peer's endpoint that the mapping is for; all zero where it is for all peers.
	peer     endpoint
	static   bool
	until    time.Time // the latest end of a session that the inside has asked for
	sessions map[endpoint]*session
}

func (m *mapping) alive(now time.Time) bool { return m.static || now.Before(m.until) }

// session is the live session with a peer, or nil.
func (m *mapping) session(peer endpoint, now time.Time) *session {
	if s := m.sessions[peer]; s != nil && now.Before(s.until) {
		return s
	}
	return nil
}

// asked tells whether the inside has sent to the peer and the session lives.
func (m *mapping) asked(peer endpoint, now time.Time) bool {
	s := m.session(peer, now)
	return s != nil && s.asked
}

// askedAddr is asked for any port of the peer's address.
func (m *mapping) askedAddr(a addr, now time.Time) bool {
	for peer, s := range m.sessions {
		if peer.addr == a && s.asked && now.Before(s.until) {
			return true
		}
	}
	return false
}

// extend sets a session's end and the mapping's with it.
func (m *mapping) extend(s *session, until time.Time) {
	earlier := until.Before(s.until)
	s.until = until
	if !s.asked {
		return
	}
	if until.After(m.until) {
		m.until = until
		return
	}
	if earlier { // It has been closed, and may have been what kept the mapping.
		m.until = until
		for _, other := range m.sessions {
			if other.asked && other.until.After(m.until) {
				m.until = other.until
			}
		}
	}
}

// outsideKey finds a mapping for a packet from outside.
type outsideKey struct {
	protocol Protocol
	outside  endpoint
}

// insideKey finds a mapping for a packet from inside.
type insideKey struct {
	protocol     Protocol
	inside, peer endpoint
}

// table holds the mappings.
type table struct {
	outside  map[outsideKey]*mapping
	inside   map[insideKey]*mapping
	static   map[insideKey]*mapping // by the inside endpoint alone
	replies  map[insideKey]*mapping // those of sessions that a peer began whom the mapping is not for
	perHost  map[addr]int           // dynamic mappings
	sessions int
	swept    time.Time
}

func newTable() table {
	return table{
		outside: make(map[outsideKey]*mapping),
		inside:  make(map[insideKey]*mapping),
		static:  make(map[insideKey]*mapping),
		replies: make(map[insideKey]*mapping),
		perHost: make(map[addr]int),
	}
}

func (t *table) add(m *mapping) {
	t.outside[outsideKey{m.protocol, m.outside}] = m
	if m.static {
		t.static[insideKey{protocol: m.protocol, inside: m.inside}] = m
		return
	}
	t.inside[insideKey{m.protocol, m.inside, m.peer}] = m
	t.perHost[m.inside.addr]++
}

func (t *table) remove(m *mapping) {
	delete(t.outside, outsideKey{m.protocol, m.outside})
	for peer := range m.sessions {
		t.end(m, peer)
	}
	if m.static {
		delete(t.static, insideKey{protocol: m.protocol, inside: m.inside})
		return
	}
	delete(t.inside, insideKey{m.protocol, m.inside, m.peer})
	if t.perHost[m.inside.addr]--; t.perHost[m.inside.addr] == 0 {
		delete(t.perHost, m.inside.addr)
	}
}

// byOutside finds the live mapping of an outside endpoint, or nil.
func (t *table) byOutside(p Protocol, outside endpoint, now time.Time) *mapping {
	m := t.outside[outsideKey{p, outside}]
	if m == nil || m.alive(now) {
		return m
	}
	t.remove(m)
	return nil
}

// byInside finds the live dynamic mapping of an inside endpoint for the part of its peer that counts, or nil.
func (t *table) byInside(p Protocol, inside, part endpoint, now time.Time) *mapping {
	m := t.inside[insideKey{p, inside, part}]
	if m == nil || m.alive(now) {
		return m
	}
	t.remove(m)
	return nil
}

// sweep removes what has expired, at most once in a while: a table that is full must not be searched for each packet.
func (t *table) sweep(now time.Time) {
	if now.Sub(t.swept) < sweepEvery && now.After(t.swept) {
		return
	}
	t.swept = now
	for _, m := range t.outside {
		if !m.alive(now) {
			t.remove(m)
			continue
		}
		for peer, s := range m.sessions {
			if !now.Before(s.until) {
				t.end(m, peer)
			}
		}
	}
}

// end forgets a session that there is.
func (t *table) end(m *mapping, peer endpoint) {
	delete(m.sessions, peer)
	t.sessions--
	if key := (insideKey{m.protocol, m.inside, peer}); t.replies[key] == m {
		delete(t.replies, key)
	}
}

// open is the mapping's session with a peer, a new one where there is none, or nil where there is no room.
func (t *table) open(m *mapping, peer endpoint, now time.Time) *session {
	if s := m.sessions[peer]; s != nil {
		if !now.Before(s.until) {
			*s = session{}
		}
		return s
	}
	t.sweep(now)
	if len(m.sessions) >= maxSessions || t.sessions >= allSessions {
		return nil
	}
	if m.sessions == nil {
		m.sessions = make(map[endpoint]*session, 1)
	}
	s := new(session)
	m.sessions[peer] = s
	t.sessions++
	return s
}
