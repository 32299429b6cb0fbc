package fabric

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"ionlab/internal/fabric/nat"
)

const (
	etherIPv4 = uint16(header.IPv4ProtocolNumber)
	etherIPv6 = uint16(header.IPv6ProtocolNumber)
)

// ipv4 handles an IPv4 packet (RFC 1812, 5.2 and 5.3).
func (r *Router) ipv4(a arrival) {
	ip := header.IPv4(a.payload())
	if !ip.IsValid(len(ip)) || !ip.IsChecksumValid() {
		r.drop(dropMalformed)
		return
	}
	src, dst := addrs4(ip)
	if a.frame.dst().group() || dst.IsMulticast() || r.isBroadcast(dst) {
		r.drop(dropBroadcast)
		return
	}
	if !isHost(src) || !isHost(dst) || r.isBroadcast(src) || r.owns(src) != nil {
		r.drop(dropMartian)
		return
	}
	switch own := r.owns(dst); {
	case own == nil:
		r.transit(a, ip, src, dst)
	case own.isOutside && a.port.isOutside:
		r.toOutside(a, ip, r.nat.Inbound)
	case own.isOutside:
		r.toOutside(a, ip, r.nat.Hairpin)
	case a.port.isOutside && r.guarded():
		r.drop(nat.Firewalled.String())
	default:
		r.localIPv4(a, ip)
	}
	if ip.FragmentOffset() == 0 && ip.Flags()&header.IPv4FlagMoreFragments != 0 {
		r.resume(a)
	}
}

// guarded tells whether the inside is to be out of the outside's reach.
func (r *Router) guarded() bool { return r.nat.Translates() || r.nat.DropsInbound() }

// isHost tells addresses that one host may have and a router forwards (RFC 1812, 5.3.7).
func isHost(a netip.Addr) bool {
	first := a.As4()[0]
	return a.IsGlobalUnicast() && first != 0 && first < 240
}

func addrs4(ip header.IPv4) (src, dst netip.Addr) {
	return netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
}

// isBroadcast tells the broadcast addresses of the router's networks, and the limited one.
func (r *Router) isBroadcast(a netip.Addr) bool {
	if a == everyone() {
		return true
	}
	for _, p := range r.ports {
		if a == p.broadcast || a == p.network.cfg.Subnet.Addr() {
			return true
		}
	}
	return false
}

// copied is a copy of the arrival's IP packet in a frame of its own, without padding.
func (a arrival) copied(length int) *frame {
	f := a.port.router.pool.get(headerLen + length)
	f.origin = a.frame.origin
	copy(f.bytes(), a.frame.bytes()[:headerLen+length])
	return f
}

// toOutside handles a packet for the router's outside address: NAT may know whom it is for.
func (r *Router) toOutside(a arrival, ip header.IPv4, translate translation) {
	if !r.nat.Translates() {
		r.answer(a, ip)
		return
	}
	f := a.copied(int(ip.TotalLength()))
	v := translate(f.bytes()[headerLen:], a.now)
	switch v.Action {
	case nat.Pass, nat.TurnBack:
		if ip.TTL() <= 1 {
			r.expired(a)
			break
		}
		_, dst := addrs4(header.IPv4(f.bytes()[headerLen:]))
		if way := r.route(dst); way != nil {
			r.forward(a, f, way, dst)
			return
		}
		r.unroutable(a)
	case nat.Local:
		r.answer(a, ip)
	default:
		r.refused(a, v.Cause)
	}
	r.release(f)
}

// answer is localIPv4 unless the firewall stands before it.
func (r *Router) answer(a arrival, ip header.IPv4) {
	if a.port.isOutside && r.nat.DropsInbound() {
		r.drop(nat.Firewalled.String())
		return
	}
	r.localIPv4(a, ip)
}

// transit handles a packet for another host.
func (r *Router) transit(a arrival, ip header.IPv4, src, dst netip.Addr) {
	if ip.TTL() <= 1 {
		r.expired(a)
		return
	}
	way := r.route(dst)
	if way == nil {
		r.unroutable(a)
		return
	}
	f := a.copied(int(ip.TotalLength()))
	v := nat.Verdict{Action: nat.Pass}
	switch {
	case way.port.isOutside && !a.port.isOutside:
		v = r.nat.Outbound(f.bytes()[headerLen:], a.now)
		src, _ = addrs4(header.IPv4(f.bytes()[headerLen:]))
	case !way.port.isOutside && a.port.isOutside:
		v = r.nat.Inbound(f.bytes()[headerLen:], a.now)
	}
	switch {
	case v.Action != nat.Pass:
		r.refused(a, v.Cause)
	case way.port.refuses(src, dst, way.via):
		r.drop(dropProhibited)
		r.report(a, header.ICMPv4DstUnreachable, header.ICMPv4AdminProhibited, 0)
	default:
		r.forward(a, f, way, dst)
		return
	}
	r.release(f)
}

// refuses tells what is not let on to a network: packets for its control address, which is for the host alone, and to its
// gateway those with a source of another network, which that does not let out.
func (p *routerPort) refuses(src, dst, via netip.Addr) bool {
	if dst == p.network.cfg.Control {
		return true
	}
	return via.IsValid() && via == p.network.cfg.Gateway && !p.network.cfg.Subnet.Contains(src)
}

func (r *Router) expired(a arrival) {
	r.drop(dropTTL)
	r.report(a, header.ICMPv4TimeExceeded, header.ICMPv4TTLExceeded, 0)
}

func (r *Router) unroutable(a arrival) {
	r.drop(dropNoRoute)
	r.report(a, header.ICMPv4DstUnreachable, header.ICMPv4NetUnreachable, 0)
}

// refused drops what NAT does not let through. Only the inside is told, and only where there is no room for it.
func (r *Router) refused(a arrival, cause nat.Cause) {
	if cause == nat.FragmentLost && r.holdFragment(a) {
		return
	}
	r.drop(cause.String())
	if cause.Refusal() && !a.port.isOutside {
		r.report(a, header.ICMPv4DstUnreachable, header.ICMPv4AdminProhibited, 0)
	}
}

// forward sends the router's copy of an arrival on its way, in pieces where the next network's MTU asks for it.
func (r *Router) forward(a arrival, f *frame, way *route, dst netip.Addr) {
	ip := header.IPv4(f.bytes()[headerLen:])
	next := way.via
	if !next.IsValid() {
		next = dst
	}
	decrementTTL(ip)
	mtu := way.port.mtu()
	if len(ip) <= mtu {
		r.counts.Forwarded++
		way.port.transmit(a, f, next)
		return
	}
	if ip.Flags()&header.IPv4FlagDontFragment != 0 {
		r.drop(dropTooBig)
		r.report(a, header.ICMPv4DstUnreachable, header.ICMPv4FragmentationNeeded, uint32(mtu))
		r.release(f)
		return
	}
	r.counts.Forwarded++
	r.counts.Fragmented++
	for _, piece := range r.fragment(f, mtu) {
		way.port.transmit(a, piece, next)
	}
	r.release(f)
}

// decrementTTL corrects the checksum without looking at the rest of the header (RFC 1624).
func decrementTTL(ip header.IPv4) {
	was := uint32(binary.BigEndian.Uint16(ip[8:]))
	ip[8]--
	is := uint32(binary.BigEndian.Uint16(ip[8:]))
	sum := uint32(^binary.BigEndian.Uint16(ip[10:])) + (^was & 0xffff) + is
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum&0xffff+sum>>16))
}

// fragment cuts the packet in f into pieces of at most mtu bytes (RFC 791, 3.2). All have the header of the first, options
// included.
func (r *Router) fragment(f *frame, mtu int) []*frame {
	ip := header.IPv4(f.bytes()[headerLen:])
	hl := int(ip.HeaderLength())
	step := (mtu - hl) &^ 7
	payload := ip.Payload()
	first, more := int(ip.FragmentOffset()), ip.Flags()&header.IPv4FlagMoreFragments
	var pieces []*frame
	for at := 0; at < len(payload); at += step {
		part := payload[at:min(at+step, len(payload))]
		piece := r.pool.get(headerLen + hl + len(part))
		piece.origin = f.origin
		b := piece.bytes()
		copy(b, f.bytes()[:headerLen+hl])
		copy(b[headerLen+hl:], part)
		h := header.IPv4(b[headerLen:])
		flags := more
		if at+step < len(payload) {
			flags = header.IPv4FlagMoreFragments
		}
		h.SetFlagsFragmentOffset(flags, uint16(first+at))
		h.SetTotalLength(uint16(hl + len(part)))
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
		pieces = append(pieces, piece)
	}
	return pieces
}
