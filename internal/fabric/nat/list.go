package nat

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Mapping is a snapshot of one mapping.
type Mapping struct {
	Protocol Protocol
	// Inside and Outside are endpoints; for ICMP the port is the identifier.
	Inside, Outside netip.AddrPort
	// Peer is what the mapping is for where that depends on the peer: its address, with port 0 where any port will do. It
	// is not valid where the mapping is for all peers.
	Peer netip.AddrPort
	// Static mappings are forwards: they do not expire.
	Static bool
	// Peers are those that packets went to or came from, in order.
	Peers []Peer
	// Expires is when the mapping ends unless it is refreshed; zero for a static one.
	Expires time.Time
}

// Peer is an outside endpoint that a mapping is used with.
type Peer struct {
	Addr netip.AddrPort
	// Asked is whether the inside has sent to it: then it gets through any filtering until Expires.
	Asked bool
	// State of a TCP connection: opening, established or closing; else empty.
	State   string
	Expires time.Time
}

// String is the mapping in one line.
func (m Mapping) String() string {
	text := fmt.Sprintf("%s %s as %s", m.Protocol, m.Inside, m.Outside)
	if m.Peer.IsValid() {
		text += fmt.Sprintf(" for %s", m.Peer)
	}
	if m.Static {
		text += ", static"
	}
	return text
}

// Mappings are the live mappings and static forwards, by protocol, inside and outside endpoint.
func (n *NAT) Mappings(now time.Time) []Mapping {
	list := make([]Mapping, 0, len(n.table.outside))
	for _, m := range n.table.outside {
		if m.alive(now) {
			list = append(list, m.snapshot(now))
		}
	}
	slices.SortFunc(list, func(a, b Mapping) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.Inside.Compare(b.Inside), a.Outside.Compare(b.Outside))
	})
	return list
}

func (m *mapping) snapshot(now time.Time) Mapping {
	s := Mapping{Protocol: m.protocol, Inside: m.inside.addrPort(), Outside: m.outside.addrPort(), Static: m.static}
	if m.peer != (endpoint{}) {
		s.Peer = m.peer.addrPort()
	}
	if !m.static {
		s.Expires = m.until
	}
	for peer, session := range m.sessions {
		if now.Before(session.until) {
			s.Peers = append(s.Peers, Peer{peer.addrPort(), session.asked, session.state(m.protocol), session.until})
		}
	}
	slices.SortFunc(s.Peers, func(a, b Peer) int { return a.Addr.Compare(b.Addr) })
	return s
}
