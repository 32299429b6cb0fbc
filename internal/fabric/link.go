package fabric

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"ionlab/internal/fabric/impair"
)

// Link is one node's, or one router's, port on one network: counters, conditions and what else happens to frames between
// its owner and the switch. Its methods may be called concurrently.
type Link struct {
	owner, network string
	origin         uint16 // the owner's number: its frames bear it, and partitions go by it
	addr           netip.Addr
	hw             mac
	index          int // its port of the switch
	sw             *vswitch
	control        controlPath
	parts          *partitions
	log            *slog.Logger
	socket         *socket // nil where the owner is a router

	behind atomic.Pointer[receiverBox]
	taps   atomic.Pointer[tapBox]
	watch  *watch
	down   atomic.Bool
	stages [directions]atomic.Pointer[stageBox]
	next   [directions]func([]*frame) // enter and leave: where a stage sends what it lets pass
	lanes  [directions]*lane          // the stages that do what conditions say
	counts counters

	mu         sync.Mutex
	conditions Conditions
}

// receiver is who is behind a link.
type receiver interface {
	// receive takes over the references of the first frames of batch, as many as it has room for, but not the slice. It
	// returns how many those are and why the others are dropped. Path is onData or onControl. It never waits, and may be
	// called concurrently.
	receive(batch []*frame, path int) (taken int, cause Cause)
}

type receiverBox struct{ receiver }

// tap sees the data frames of a link: those of its owner as they were sent, and those for its owner as they arrive. It
// borrows the frames for the call, adds a reference to those it keeps, and neither changes them nor waits. Its methods may
// be called concurrently.
type tap interface {
	egress(batch []*frame)
	ingress(batch []*frame)
}

type tapBox struct{ tap }

// linkConfig says whose port a link is.
type linkConfig struct {
	owner      string
	origin     uint16
	addr       netip.Addr
	hw         mac
	conditions Conditions
}

// addLink plugs a link into the network, which must not have been started. Who asks for it puts a receiver behind it.
func (n *Network) addLink(c linkConfig) *Link {
	l := &Link{
		owner: c.owner, origin: c.origin, addr: c.addr, hw: c.hw,
		network: n.name, sw: n.sw, control: n.controlPath, parts: n.parts, log: n.log,
	}
	l.next = [directions]func([]*frame){Egress: l.enter, Ingress: l.leave}
	for d := range directions {
		key := impair.Key{Seed: n.seed, Network: l.network, Owner: l.owner, Direction: d.String()}
		l.lanes[d] = newLane(l, d, key, n.scheduler)
	}
	l.apply(c.conditions)
	l.index = n.sw.add(l)
	l.watch = n.taps.watch(len(n.ordered))
	l.setTap(l.watch)
	n.links[l.owner] = l
	n.ordered = append(n.ordered, l)
	return l
}

// Owner is the name of the link's node or router.
func (l *Link) Owner() string { return l.owner }

// Network is the name of the link's network.
func (l *Link) Network() string { return l.network }

// Connected reports whether a QEMU has the link open. A router's link is always connected.
func (l *Link) Connected() bool { return l.socket == nil || l.socket.connected() }

// Counters is what the link has carried and dropped until now.
func (l *Link) Counters() Counters { return l.counts.snapshot() }

// setReceiver changes who gets the link's frames.
func (l *Link) setReceiver(r receiver) { l.behind.Store(&receiverBox{r}) }

// receiver is who gets the link's frames now.
func (l *Link) receiver() receiver { return l.behind.Load().receiver }

// setTap lets t, or nobody where t is nil, see the link's data frames from the next one on.
func (l *Link) setTap(t tap) {
	if t == nil {
		l.taps.Store(nil)
		return
	}
	l.taps.Store(&tapBox{t})
}

// setStage puts s, or nothing where s is nil, in the way of one direction from the next frame on.
func (l *Link) setStage(d Direction, s stage) {
	if s == nil {
		l.stages[d].Store(nil)
		return
	}
	l.stages[d].Store(&stageBox{s})
}
