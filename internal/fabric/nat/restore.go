package nat

import (
	"net/netip"
	"time"
)

// Restore replaces all mappings by those that Mappings listed at the time saved, as if no time had passed since: guests that
// are put back to what they were find their connections. Entries that do not fit the configuration of now are left out:
// static ones, those with another outside address, and those beyond a limit. It returns how many mappings it has restored.
func (n *NAT) Restore(list []Mapping, saved, now time.Time) int {
	n.Clear()
	restored := 0
	for _, entry := range list {
		if n.restore(entry, now.Sub(saved), now) {
			restored++
		}
	}
	return restored
}

func (n *NAT) restore(entry Mapping, later time.Duration, now time.Time) bool {
	if !entry.Inside.Addr().Is4() || !entry.Outside.Addr().Is4() {
		return false
	}
	m := &mapping{
		protocol: entry.Protocol, inside: endpointOf(entry.Inside), outside: endpointOf(entry.Outside),
		peer: peerOf(entry.Peer), until: entry.Expires.Add(later),
	}
	switch {
	case entry.Static:
		m = n.table.outside[outsideKey{m.protocol, m.outside}]
		if m == nil || !m.static || m.inside != endpointOf(entry.Inside) {
			return false
		}
	case !n.fits(m, now):
		return false
	default:
		n.table.add(m)
	}
	for _, peer := range entry.Peers {
		if s := n.table.open(m, peerOf(peer.Addr), now); s != nil {
			*s = session{asked: peer.Asked, until: peer.Expires.Add(later), seen: seenOf(peer.State)}
			n.noteForeign(m, peerOf(peer.Addr))
		}
	}
	return true
}

// fits tells whether a dynamic mapping is one that the configuration of now could have made.
func (n *NAT) fits(m *mapping, now time.Time) bool {
	outside := m.inside.addr
	if n.translates() {
		outside = n.outside
	}
	return m.outside.addr == outside && m.alive(now) && m.peer == n.part(m.peer) &&
		n.table.outside[outsideKey{m.protocol, m.outside}] == nil &&
		n.table.perHost[m.inside.addr] < n.cfg.MaxPerHost &&
		len(n.table.outside)-len(n.table.static) < n.cfg.MaxMappings
}

func peerOf(a netip.AddrPort) endpoint {
	if !a.Addr().Is4() {
		return endpoint{}
	}
	return endpointOf(a)
}

// seenOf is what has passed of a TCP connection in a state.
func seenOf(state string) tcpSeen {
	switch state {
	case stateEstablished:
		return fromInside | fromOutside | established
	case stateClosing:
		return fromInside | fromOutside | finInside | finOutside
	default:
		return 0
	}
}
