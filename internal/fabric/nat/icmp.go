package nat

import (
	"encoding/binary"
	"time"
)

// An ICMP message (RFC 792).
const (
	icmpHeader   = 8
	icmpChecksum = 2
	icmpIdent    = 4

	echoReply        = 0
	unreachable      = 3
	sourceQuench     = 4
	echoRequest      = 8
	timeExceeded     = 11
	parameterProblem = 12
	timestampRequest = 13
	timestampReply   = 14
)

// kind sorts packets by how they are handled.
type kind uint8

const (
	isBad   kind = iota
	isFlow       // TCP, UDP, ICMP query
	isReply      // to an ICMP query
	isError      // ICMP about another packet
	isOther
)

// kindOf sorts a packet that is no later fragment. What it calls a flow or a reply has a whole transport header.
func kindOf(p packet) kind {
	t := p.payload()
	switch p.protocol() {
	case TCP:
		if len(t) < tcpHeader {
			return isBad
		}
		return isFlow
	case UDP:
		if len(t) < quotedTransport {
			return isBad
		}
		return isFlow
	case ICMP:
		if len(t) < icmpHeader {
			return isBad
		}
		return kindOfICMP(t[0])
	default:
		return isOther
	}
}

func kindOfICMP(kind byte) kind {
	switch kind {
	case echoRequest, timestampRequest:
		return isFlow
	case echoReply, timestampReply:
		return isReply
	case unreachable, sourceQuench, timeExceeded, parameterProblem:
		return isError
	default:
		return isOther
	}
}

// replyIn handles an answer from outside to a query.
func (n *NAT) replyIn(p packet, now time.Time) Verdict {
	peer, outside, _ := p.ends()
	peer.port = 0
	m := n.table.byOutside(ICMP, outside, now)
	if m == nil {
		return drop(n.unsolicited())
	}
	if cause := n.admit(m, peer, now); cause != None {
		return drop(cause)
	}
	if p.isFragment() {
		n.fragments.begin(p, dstSide, m.inside.addr, now)
	}
	if n.translates() {
		p.set(dstSide, m.inside)
	}
	return pass
}

// replyOut handles an answer from inside. Translated queries never reach the inside, so there is nothing to answer.
func (n *NAT) replyOut(p packet, now time.Time) Verdict {
	if n.translates() {
		return drop(NoSession)
	}
	if p.isFragment() {
		n.fragments.begin(p, srcSide, p.src(), now)
	}
	return pass
}

// quote is the packet that an ICMP error is about, and its endpoints.
type quote struct {
	packet
	src, dst endpoint
}

// quoted is what a whole ICMP error quotes. It returns false where that belongs to no flow.
func quoted(p packet) (quote, bool) {
	inner, ok := parseHeader(p.payload()[icmpHeader:])
	if !ok || p.isFragment() || inner.isLaterFragment() {
		return quote{}, false
	}
	t := inner.payload()
	if inner.protocol() == ICMP && len(t) > 0 && kindOfICMP(t[0]) == isError {
		return quote{}, false
	}
	q := quote{packet: inner}
	q.src, q.dst, ok = inner.ends()
	return q, ok
}

// errorIn handles an ICMP error from outside about a packet that left. It is translated like that packet, the other way
// round (RFC 5508 REQ-4); who sent it does not matter, for it may be any router on the way.
func (n *NAT) errorIn(p packet, now time.Time) Verdict {
	inner, ok := quoted(p)
	if !ok {
		return drop(NoSession)
	}
	peer := inner.dst
	if inner.protocol() == ICMP {
		peer.port = 0
	}
	m := n.table.byOutside(inner.protocol(), inner.src, now)
	if m == nil || m.session(peer, now) == nil {
		return drop(NoSession)
	}
	if !n.translates() {
		return pass
	}
	p.requote(func() { inner.set(srcSide, m.inside) })
	p.setAddr(dstSide, m.inside.addr)
	return pass
}

// errorOut handles an ICMP error from inside about a packet that came in. Its source becomes the outside address, also where
// a router inside sent it (RFC 5508 REQ-5).
func (n *NAT) errorOut(p packet, now time.Time) Verdict {
	inner, ok := quoted(p)
	if !ok {
		return drop(NoSession)
	}
	if !n.translates() {
		return pass // It can only be about a packet that the firewall let in.
	}
	peer := inner.src
	if inner.protocol() == ICMP {
		peer.port = 0
	}
	m := n.find(inner.protocol(), inner.dst, peer, now)
	if m == nil {
		return drop(NoSession)
	}
	p.requote(func() { inner.set(dstSide, m.outside) })
	p.setAddr(srcSide, n.outside)
	return pass
}

// requote corrects an ICMP error's checksum for what change does to the packet it quotes.
func (p packet) requote(change func()) {
	t := p.payload()
	var was, is [2]byte
	binary.BigEndian.PutUint16(was[:], add(t[icmpHeader:]))
	change()
	binary.BigEndian.PutUint16(is[:], add(t[icmpHeader:]))
	fix(t[icmpChecksum:], was[:], is[:])
}
