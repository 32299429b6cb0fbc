package fabric

import (
	"net/netip"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// routerPort is a router's end of a link. What comes in waits in its queue for the port's goroutine, so that a frame that
// goes round in circles meets no lock it already holds.
type routerPort struct {
	router    *Router
	index     int
	link      *Link
	network   *Network
	isOutside bool
	mac       mac
	addr      netip.Addr
	broadcast netip.Addr
	addr6     []netip.Addr   // link-local first
	subnets   []netip.Prefix // of both families
	queue     *queue

	// Guarded by the router's lock.
	neighbours map[netip.Addr]*neighbour
}

func newRouterPort(r *Router, n *Network, i Interface) *routerPort {
	p := &routerPort{
		router: r, index: len(r.ports), network: n, mac: macOf(i.MAC), addr: i.Addr, broadcast: lastAddr(n.cfg.Subnet), queue: newQueue(),
		subnets: []netip.Prefix{n.cfg.Subnet}, neighbours: make(map[netip.Addr]*neighbour),
	}
	p.addr6 = []netip.Addr{linkLocal(p.mac)}
	for _, own := range i.Addr6 {
		p.addr6 = append(p.addr6, own.Addr())
		p.subnets = append(p.subnets, own.Masked())
	}
	p.link = n.addLink(linkConfig{owner: r.name, origin: r.origin, addr: i.Addr, hw: p.mac, conditions: i.Conditions})
	p.link.setReceiver(p)
	p.queue.reopen(r.pool)
	return p
}

// linkLocal is the IPv6 address that follows from a MAC (RFC 4291, appendix A).
func linkLocal(m mac) netip.Addr {
	b := m.bytes()
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: b[0] ^ 2, b[1], b[2], 0xff, 0xfe, b[3], b[4], b[5]})
}

func (p *routerPort) has(a netip.Addr) bool { return a == p.addr || slices.Contains(p.addr6, a) }

func (p *routerPort) mtu() int { return p.network.cfg.MTU }

// receive implements receiver.
func (p *routerPort) receive(batch []*frame, path int) (taken int, cause Cause) {
	lim := dataLimits
	if path == onControl {
		lim = controlLimits
	}
	taken, _ = p.queue.push(batch, lim)
	return taken, Overflow
}

// outbox collects what a goroutine of the router sends, until the router's lock is free again.
type outbox struct {
	senders []sender // by the port's index
	frames  [][]*frame
}

func (r *Router) newOutbox() *outbox {
	o := &outbox{senders: make([]sender, len(r.ports)), frames: make([][]*frame, len(r.ports))}
	for i, p := range r.ports {
		o.senders[i].link = p.link
	}
	return o
}

func (o *outbox) add(p *routerPort, f *frame) { o.frames[p.index] = append(o.frames[p.index], f) }

func (o *outbox) flush() {
	for i, frames := range o.frames {
		if len(frames) == 0 {
			continue
		}
		o.senders[i].send(frames)
		clear(frames)
		o.frames[i] = frames[:0]
	}
}

// run handles what comes in by the port until done is closed.
func (p *routerPort) run(done <-chan struct{}) {
	out := p.router.newOutbox()
	spare := make([]*frame, 0, maxBatch)
	for {
		batch := p.queue.take(spare)
		if len(batch) == 0 {
			select {
			case <-done:
				return
			case <-p.queue.wake:
			}
			continue
		}
		bytes := 0
		for part := range slices.Chunk(batch, maxBatch) {
			p.handleAll(part, out)
			out.flush()
		}
		for _, f := range batch {
			bytes += len(f.buf)
		}
		p.queue.done(len(batch), bytes)
		p.router.pool.release(batch)
		clear(batch)
		spare = batch
	}
}

func (p *routerPort) handleAll(batch []*frame, out *outbox) {
	now := p.router.clock()
	p.router.mu.Lock()
	defer p.router.mu.Unlock()
	for _, f := range batch {
		p.handle(arrival{port: p, frame: f, now: now, out: out})
	}
}

// arrival is a frame that has come in by a port. It is lent: who keeps the frame adds a reference.
type arrival struct {
	port  *routerPort
	frame *frame
	now   time.Time
	out   *outbox
	again bool // It has been held once.
}

// payload is what the frame carries.
func (a arrival) payload() []byte { return a.frame.bytes()[headerLen:] }

// handle is called with the router's lock held, as all below it.
func (p *routerPort) handle(a arrival) {
	dst := a.frame.dst()
	if dst != p.mac && !dst.group() {
		return // Flooded.
	}
	switch a.frame.etherType() {
	case uint16(header.ARPProtocolNumber):
		p.arp(a)
	case uint16(header.IPv4ProtocolNumber):
		p.router.ipv4(a)
	case uint16(header.IPv6ProtocolNumber):
		p.router.ipv6(a)
	}
}

// reply sends a frame of the router's own to where the arrival came from.
func (a arrival) reply(f *frame) {
	f.origin = a.port.router.origin
	b := f.bytes()
	copy(b, a.frame.src().bytes())
	copy(b[6:], a.port.mac.bytes())
	copy(b[12:14], a.frame.bytes()[12:14])
	a.out.add(a.port, f)
}

// close gives back what waits. It is called once, after all goroutines have ended.
func (r *Router) close() {
	for _, p := range r.ports {
		p.queue.shut(r.pool)
		for _, n := range p.neighbours {
			r.pool.release(n.takeWaiting())
		}
	}
	r.early.close(r.pool)
}
