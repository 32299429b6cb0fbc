package nat

import "time"

// flowOut handles TCP, UDP and ICMP queries from inside.
func (n *NAT) flowOut(p packet, now time.Time) Verdict {
	inside, peer, _ := p.ends()
	proto := p.protocol()
	if proto == ICMP {
		peer.port = 0
	}
	m := n.find(proto, inside, peer, now)
	if proto == TCP && flagsOf(p)&flagRST != 0 && (m == nil || m.session(peer, now) == nil) {
		if !n.translates() {
			return pass // It ends nothing that the firewall knows.
		}
		return drop(NoSession)
	}
	if m == nil {
		var cause Cause
		if m, cause = n.create(proto, inside, peer, now); m == nil {
			return drop(cause)
		}
	}
	s := n.table.open(m, peer, now)
	if s == nil {
		return drop(TableFull)
	}
	if p.isFragment() {
		n.fragments.begin(p, srcSide, m.outside.addr, now)
	}
	if proto == TCP {
		s.note(flagsOf(p), true)
	}
	s.asked = true
	m.extend(s, now.Add(s.timeout(proto, &n.cfg)))
	if n.translates() {
		p.set(srcSide, m.outside)
	}
	return pass
}

// flowIn handles TCP and UDP from outside, and ICMP queries, which are never for the inside where addresses are translated.
func (n *NAT) flowIn(p packet, now time.Time) Verdict {
	peer, outside, _ := p.ends()
	proto := p.protocol()
	if proto == ICMP {
		if n.translates() {
			return local
		}
		peer.port = 0
	}
	m := n.table.byOutside(proto, outside, now)
	if m == nil {
		return drop(n.unsolicited())
	}
	if cause := n.admit(m, peer, now); cause != None {
		return drop(cause)
	}
	if p.isFragment() {
		n.fragments.begin(p, dstSide, m.inside.addr, now)
	}
	if cause := n.noteIn(p, m, peer, now); cause != None {
		return drop(cause)
	}
	if n.translates() {
		p.set(dstSide, m.inside)
	}
	return pass
}

// noteIn keeps the session of an admitted packet from outside: on TCP, and wherever the reply would not leave by the port
// that was asked. Elsewhere such packets leave no trace.
func (n *NAT) noteIn(p packet, m *mapping, peer endpoint, now time.Time) Cause {
	proto := p.protocol()
	if proto != TCP && !m.static && n.part(peer) == m.peer {
		return None
	}
	if proto == TCP && flagsOf(p)&flagRST != 0 && m.session(peer, now) == nil {
		return None
	}
	s := n.table.open(m, peer, now)
	if s == nil {
		return TableFull
	}
	n.noteForeign(m, peer)
	if proto == TCP {
		s.note(flagsOf(p), false)
	}
	m.extend(s, now.Add(s.timeout(proto, &n.cfg)))
	return None
}

// noteForeign sees to it that replies to a peer leave by a mapping that is for another one.
func (n *NAT) noteForeign(m *mapping, peer endpoint) {
	if !m.static && n.part(peer) != m.peer {
		n.table.replies[insideKey{m.protocol, m.inside, peer}] = m
	}
}

// admit decides on a packet from outside for a mapping.
func (n *NAT) admit(m *mapping, peer endpoint, now time.Time) Cause {
	switch {
	case m.static || m.asked(peer, now):
		return None
	case n.cfg.Firewall == DropInbound:
		return Firewalled
	case n.cfg.Filtering == EndpointIndependent:
		return None
	case n.cfg.Filtering == AddressDependent && m.askedAddr(peer.addr, now):
		return None
	default:
		return Filtered
	}
}

// unsolicited is the cause of a drop where there is no mapping.
func (n *NAT) unsolicited() Cause {
	if n.translates() {
		return Unsolicited
	}
	return Firewalled
}

// find is the mapping that packets from an inside endpoint to a peer use, or nil. A static one is used for replies to its
// own peers, and for everyone where the mapping is endpoint-independent. A peer that came in by a mapping which is for
// another one gets its replies from there.
func (n *NAT) find(proto Protocol, inside, peer endpoint, now time.Time) *mapping {
	if m := n.table.static[insideKey{protocol: proto, inside: inside}]; m != nil {
		if n.cfg.Mapping == EndpointIndependent || m.session(peer, now) != nil {
			return m
		}
	}
	if m := n.table.byInside(proto, inside, n.part(peer), now); m != nil {
		return m
	}
	if m := n.table.replies[insideKey{proto, inside, peer}]; m != nil && m.alive(now) && m.session(peer, now) != nil {
		return m
	}
	return nil
}

// part is what the mapping behavior sees of a peer.
func (n *NAT) part(peer endpoint) endpoint {
	switch n.cfg.Mapping {
	case AddressDependent:
		return endpoint{addr: peer.addr}
	case AddressAndPortDependent:
		return peer
	default:
		return endpoint{}
	}
}

// create makes a mapping, or says why not.
func (n *NAT) create(proto Protocol, inside, peer endpoint, now time.Time) (*mapping, Cause) {
	n.table.sweep(now)
	if n.table.perHost[inside.addr] >= n.cfg.MaxPerHost {
		return nil, HostFull
	}
	if len(n.table.outside)-len(n.table.static) >= n.cfg.MaxMappings {
		return nil, TableFull
	}
	m := &mapping{protocol: proto, inside: inside, outside: inside, peer: n.part(peer), until: now.Add(1)} // Its first session extends it.
	if n.translates() {
		port, ok := n.choosePort(proto, inside.port, now)
		if !ok {
			return nil, PortsTaken
		}
		m.outside = endpoint{n.outside, port}
	}
	n.table.add(m)
	return m, None
}

// wellKnown is the end of the ports that are for servers: RFC 4787 REQ-3 keeps a port on its side.
const wellKnown = 1024

// choosePort is a free outside port for a new mapping.
func (n *NAT) choosePort(proto Protocol, want uint16, now time.Time) (uint16, bool) {
	low, size := wellKnown, 65536-wellKnown
	switch {
	case proto == ICMP: // An identifier is no port.
		low, size = 0, 65536
	case want < wellKnown:
		low, size = 1, wellKnown-1
	}
	first := int(want) - low
	if n.cfg.Ports == Random || first < 0 {
		first = n.random.IntN(size)
	}
	for i := range size {
		port := uint16(low + (first+i)%size)
		if n.table.byOutside(proto, endpoint{n.outside, port}, now) == nil {
			return port, true
		}
	}
	return 0, false
}

// otherOut handles protocols without ports: there is nothing to tell two inside hosts apart by.
func (n *NAT) otherOut(p packet, now time.Time) Verdict {
	if n.translates() {
		return drop(Unsupported)
	}
	inside, peer := endpoint{addr: p.src()}, endpoint{addr: p.dst()}
	m := n.find(p.protocol(), inside, peer, now)
	if m == nil {
		var cause Cause
		if m, cause = n.create(p.protocol(), inside, peer, now); m == nil {
			return drop(cause)
		}
	}
	s := n.table.open(m, peer, now)
	if s == nil {
		return drop(TableFull)
	}
	if p.isFragment() {
		n.fragments.begin(p, srcSide, inside.addr, now)
	}
	s.asked = true
	m.extend(s, now.Add(n.cfg.UDPTimeout))
	return pass
}

func (n *NAT) otherIn(p packet, now time.Time) Verdict {
	if n.translates() {
		return drop(Unsupported)
	}
	m := n.table.byOutside(p.protocol(), endpoint{addr: p.dst()}, now)
	if m == nil || !m.asked(endpoint{addr: p.src()}, now) {
		return drop(Firewalled)
	}
	if p.isFragment() {
		n.fragments.begin(p, dstSide, m.inside.addr, now)
	}
	return pass
}

func flagsOf(p packet) byte { return p.payload()[tcpFlags] }
