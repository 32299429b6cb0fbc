package fabric

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	earlyMost = 64 // fragments
	earlyWait = 2 * time.Second
)

// early holds fragments that came before the first of their datagram, which alone has the ports that NAT goes by (RFC 4787
// REQ-14).
type early struct {
	frames []earlyFragment // in the order of their arrival
}

type earlyFragment struct {
	frame *frame
	port  *routerPort
	at    time.Time
}

// datagram is what the fragments of one datagram have in common (RFC 791).
type datagram struct {
	ends     [8]byte
	id       uint16
	protocol uint8
}

func datagramOf(f *frame) datagram {
	ip := header.IPv4(f.bytes()[headerLen:])
	return datagram{ends: [8]byte(ip[12:20]), id: ip.ID(), protocol: ip.Protocol()}
}

// hold keeps an arrival, and returns how many older ones it has given up for that.
func (e *early) hold(a arrival) (lost int) {
	for len(e.frames) > 0 && (len(e.frames) == earlyMost || a.now.Sub(e.frames[0].at) > earlyWait) {
		a.port.router.release(e.frames[0].frame)
		e.frames = append(e.frames[:0], e.frames[1:]...)
		lost++
	}
	a.frame.refs.Add(1)
	e.frames = append(e.frames, earlyFragment{a.frame, a.port, a.now})
	return lost
}

// take returns, and keeps no longer, what belongs to the datagram of an arrival.
func (e *early) take(a arrival) []*frame {
	if len(e.frames) == 0 {
		return nil
	}
	which := datagramOf(a.frame)
	var taken []*frame
	rest := e.frames[:0]
	for _, held := range e.frames {
		if held.port == a.port && datagramOf(held.frame) == which {
			taken = append(taken, held.frame)
		} else {
			rest = append(rest, held)
		}
	}
	clear(e.frames[len(rest):])
	e.frames = rest
	return taken
}

// holdFragment keeps an arrival that NAT cannot place yet. It returns false where it has been kept once already.
func (r *Router) holdFragment(a arrival) bool {
	if a.again {
		return false
	}
	for range r.early.hold(a) {
		r.drop(dropFragment)
	}
	return true
}

// resume handles what has waited for a first fragment.
func (r *Router) resume(a arrival) {
	for _, f := range r.early.take(a) {
		next := a
		next.frame, next.again = f, true
		r.ipv4(next)
		r.release(f)
	}
}

func (e *early) close(pool *framePool) {
	for _, held := range e.frames {
		pool.release([]*frame{held.frame})
	}
	e.frames = nil
}
