package fabric

import (
	"encoding/binary"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	neighbourAge   = time.Minute // how long a MAC is believed without another sign of it
	neighbourAsks  = 3           // questions without an answer until a neighbour counts as absent (RFC 4861 for IPv6)
	neighbourTick  = 250 * time.Millisecond
	neighbourTicks = 4 // between two questions: one second
	neighbourQueue = 32
	neighbours     = 1024 // of one port
)

// neighbour is a host on one of a router's networks.
type neighbour struct {
	mac   mac
	known bool
	until time.Time // when to ask again
	// A question is open while asks is not zero.
	asks, ticks int
	waiting     []waitingPacket
}

// waitingPacket is a packet that waits for the answer: what shall be sent, and the frame that came, for the ICMP error.
type waitingPacket struct {
	out, came *frame
	port      *routerPort // where it came in
}

func (n *neighbour) takeWaiting() []*frame {
	var all []*frame
	for _, w := range n.waiting {
		all = append(all, w.out, w.came)
	}
	n.waiting = nil
	return all
}

// transmit sends f, whose Ethernet header is not written yet, to a neighbour on the port, now or when its MAC is known.
func (p *routerPort) transmit(a arrival, f *frame, to netip.Addr) {
	n := p.neighbours[to]
	if n == nil {
		if len(p.neighbours) >= neighbours && !p.forget(a.now) {
			p.router.drop(dropQueue)
			p.router.release(f)
			return
		}
		n = new(neighbour)
		p.neighbours[to] = n
	}
	if n.known {
		if a.now.After(n.until) && n.asks == 0 {
			p.ask(n, to, a.out)
		}
		p.put(a.out, f, n.mac)
		return
	}
	if len(n.waiting) >= neighbourQueue {
		p.router.drop(dropQueue)
		p.router.release(f)
		return
	}
	a.frame.refs.Add(1)
	n.waiting = append(n.waiting, waitingPacket{out: f, came: a.frame, port: a.port})
	if n.asks == 0 {
		p.ask(n, to, a.out)
	}
}

// put sends f to a MAC.
func (p *routerPort) put(out *outbox, f *frame, to mac) {
	b := f.bytes()
	copy(b, to.bytes())
	copy(b[6:], p.mac.bytes())
	out.add(p, f)
}

// forget makes room by dropping neighbours that have not been heard of for long. It returns whether there was one.
func (p *routerPort) forget(now time.Time) bool {
	before := len(p.neighbours)
	for addr, n := range p.neighbours {
		if n.known && now.After(n.until) && n.asks == 0 {
			delete(p.neighbours, addr)
		}
	}
	return len(p.neighbours) < before
}

// learn notes a neighbour's MAC and sends what waits for it. A host that has asked for the router is a neighbour too, so
// that the answer needs no question; of others only those that are known are updated.
func (p *routerPort) learn(addr netip.Addr, m mac, create learning, now time.Time, out *outbox) {
	n := p.neighbours[addr]
	if n == nil {
		if create == updateOnly || len(p.neighbours) >= neighbours && !p.forget(now) {
			return
		}
		n = new(neighbour)
		p.neighbours[addr] = n
	}
	n.mac, n.known, n.until, n.asks = m, true, now.Add(neighbourAge), 0
	waiting := n.waiting
	n.waiting = nil
	for _, w := range waiting {
		p.put(out, w.out, m)
		p.router.release(w.came)
	}
}

// learning says whether a neighbour may be new.
type learning int

const (
	updateOnly learning = iota
	alsoNew
)

// ask sends a question for a neighbour and sees to it that it is repeated.
func (p *routerPort) ask(n *neighbour, to netip.Addr, out *outbox) {
	n.asks++
	n.ticks = neighbourTicks
	if to.Is4() {
		out.add(p, p.arpFrame(header.ARPRequest, broadcast, 0, to))
	} else {
		out.add(p, p.solicitation(to))
	}
	if !p.router.resolving {
		p.router.resolving = true
		select {
		case p.router.kick <- struct{}{}:
		default:
		}
	}
}

// maintain repeats questions and gives up on those without an answer, until done is closed.
func (r *Router) maintain(done <-chan struct{}) {
	out := r.newOutbox()
	ticker := time.NewTicker(neighbourTick)
	defer ticker.Stop()
	for {
		ticker.Stop()
		select {
		case <-done:
			return
		case <-r.kick:
		}
		ticker.Reset(neighbourTick)
		for open := true; open; {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			open = r.tick(out)
			out.flush()
		}
	}
}

// tick returns whether questions are still open.
func (r *Router) tick(out *outbox) bool {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resolving = false
	for _, p := range r.ports {
		for addr, n := range p.neighbours {
			if n.asks == 0 {
				continue
			}
			if n.ticks--; n.ticks > 0 {
				r.resolving = true
				continue
			}
			if n.asks < neighbourAsks {
				p.ask(n, addr, out)
				continue
			}
			p.giveUp(addr, n, now, out)
		}
	}
	return r.resolving
}

// giveUp tells the senders of what waits that the host is unreachable.
func (p *routerPort) giveUp(addr netip.Addr, n *neighbour, now time.Time, out *outbox) {
	delete(p.neighbours, addr)
	waiting := n.waiting
	n.waiting = nil
	for _, w := range waiting {
		p.router.drop(dropNeighbour)
		a := arrival{port: w.port, frame: w.came, now: now, out: out}
		if addr.Is4() {
			p.router.report(a, header.ICMPv4DstUnreachable, header.ICMPv4HostUnreachable, 0)
		} else {
			p.router.report6(a, header.ICMPv6DstUnreachable, header.ICMPv6AddressUnreachable, 0)
		}
		p.router.pool.release([]*frame{w.out, w.came})
	}
}

// release gives back one frame.
func (r *Router) release(f *frame) {
	one := [1]*frame{f}
	r.pool.release(one[:])
}

const arpSender = headerLen + 14 // the sender's protocol address

// arp handles an ARP packet (RFC 826).
func (p *routerPort) arp(a arrival) {
	b := a.frame.bytes()
	if len(b) < arpFrameLen || !header.ARP(b[headerLen:]).IsValid() {
		return
	}
	arp := header.ARP(b[headerLen:])
	sender := netip.AddrFrom4([4]byte(b[arpSender:]))
	target := netip.AddrFrom4([4]byte(b[arpTarget:]))
	hw := macOf(arp.HardwareAddressSender())
	if hw.group() || sender == p.addr {
		return
	}
	create := updateOnly
	if target == p.addr && p.network.cfg.Subnet.Contains(sender) {
		create = alsoNew
	}
	p.learn(sender, hw, create, a.now, a.out)
	if arp.Op() == header.ARPRequest && target == p.addr {
		p.router.counts.Answered++
		a.out.add(p, p.arpFrame(header.ARPReply, hw, hw, sender))
	}
}

// arpFrame is an ARP packet of the router's about a neighbour.
func (p *routerPort) arpFrame(op header.ARPOp, dst, targetMAC mac, target netip.Addr) *frame {
	f := p.router.pool.get(arpFrameLen)
	f.origin = p.router.origin
	b := f.bytes()
	copy(b, dst.bytes())
	copy(b[6:], p.mac.bytes())
	binary.BigEndian.PutUint16(b[12:], uint16(header.ARPProtocolNumber))
	arp := header.ARP(b[headerLen:])
	arp.SetIPv4OverEthernet()
	arp.SetOp(op)
	copy(arp.HardwareAddressSender(), p.mac.bytes())
	copy(arp.ProtocolAddressSender(), p.addr.AsSlice())
	copy(arp.HardwareAddressTarget(), targetMAC.bytes())
	copy(arp.ProtocolAddressTarget(), target.AsSlice())
	return f
}
