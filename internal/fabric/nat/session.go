package nat

import "time"

// session is one peer of a mapping, for as long as packets pass.
type session struct {
	// asked is whether the inside has sent to the peer, and not only the peer to the inside.
	asked bool
	until time.Time
	seen  tcpSeen
}

// tcpSeen is what has passed of a TCP connection.
type tcpSeen uint8

const (
	fromInside tcpSeen = 1 << iota
	fromOutside
	established
	finInside
	finOutside
	reset
)

// TCP flags (RFC 9293).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	_
	flagACK
)

// note takes a segment's flags into account. Both ways of opening a connection count, from one side or from both at once.
func (s *session) note(flags byte, outbound bool) {
	way, fin := fromOutside, finOutside
	if outbound {
		way, fin = fromInside, finInside
	}
	if flags&(flagSYN|flagACK) == flagSYN && s.closing() {
		s.seen = 0 // A new connection with the ports of an old one.
	}
	s.seen |= way
	if flags&flagRST != 0 {
		s.seen |= reset
	}
	if flags&flagFIN != 0 {
		s.seen |= fin
	}
	const both = fromInside | fromOutside
	if flags&(flagACK|flagSYN|flagRST) == flagACK && s.seen&both == both {
		s.seen |= established
	}
}

// closing tells that both sides have ended the connection, or one has reset it.
func (s *session) closing() bool {
	const both = finInside | finOutside
	return s.seen&reset != 0 || s.seen&both == both
}

// timeout is how long a session of a protocol may be idle.
func (s *session) timeout(p Protocol, c *Config) time.Duration {
	switch {
	case p == ICMP:
		return c.ICMPTimeout
	case p != TCP:
		return c.UDPTimeout
	case s.seen&established != 0 && !s.closing():
		return c.TCPTimeout
	default:
		return c.TransitoryTimeout
	}
}

// The states of a TCP session.
const (
	stateOpening     = "opening"
	stateEstablished = "established"
	stateClosing     = "closing"
)

// state is the session's state in one word.
func (s *session) state(p Protocol) string {
	switch {
	case p != TCP:
		return ""
	case s.closing():
		return stateClosing
	case s.seen&established != 0:
		return stateEstablished
	default:
		return stateOpening
	}
}
