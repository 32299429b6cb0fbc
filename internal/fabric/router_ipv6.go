package fabric

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	quotedMost6   = header.IPv6MinimumMTU // how long an ICMPv6 error may be (RFC 4443, 2.4)
	neighbourHops = 255                   // RFC 4861, 7.1: proof that a message comes from the link
	ndTarget      = 8                     // offset in an ICMPv6 message
	ndOptions     = 24
	ndLength      = ndOptions + 8
	sourceOption  = 1
	targetOption  = 2
	naSolicited   = 0x40000000
	naOverride    = 0x20000000
	naRouter      = 0x80000000
	protoICMPv6   = uint8(header.ICMPv6ProtocolNumber)
)

// ipv6 handles an IPv6 packet (RFC 8200). Router advertisements are left to guests that want them.
func (r *Router) ipv6(a arrival) {
	ip := header.IPv6(a.payload())
	if !ip.IsValid(len(ip)) {
		r.drop(dropMalformed)
		return
	}
	src, dst := addrs6(ip)
	if src.IsMulticast() || src.IsLoopback() || dst.IsLoopback() || r.owns(src) != nil {
		r.drop(dropMartian)
		return
	}
	switch {
	case dst.IsMulticast() || a.port.has(dst) || r.owns(dst) != nil:
		r.localIPv6(a, ip, src, dst)
	case a.frame.dst().group() || src.IsLinkLocalUnicast() || dst.IsLinkLocalUnicast() || src.IsUnspecified():
		r.drop(dropMartian)
	default:
		r.transit6(a, ip, dst)
	}
}

func addrs6(ip header.IPv6) (src, dst netip.Addr) {
	return netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
}

// packet6 is the packet without padding.
func packet6(ip header.IPv6) header.IPv6 { return ip[:header.IPv6MinimumSize+int(ip.PayloadLength())] }

func (r *Router) transit6(a arrival, ip header.IPv6, dst netip.Addr) {
	way := r.route(dst)
	switch {
	case ip.HopLimit() <= 1:
		r.drop(dropTTL)
		r.report6(a, header.ICMPv6TimeExceeded, header.ICMPv6HopLimitExceeded, 0)
		return
	case way == nil:
		r.drop(dropNoRoute)
		r.report6(a, header.ICMPv6DstUnreachable, header.ICMPv6NetworkUnreachable, 0)
		return
	case len(packet6(ip)) > way.port.mtu():
		r.drop(dropTooBig)
		r.report6(a, header.ICMPv6PacketTooBig, header.ICMPv6UnusedCode, uint32(way.port.mtu()))
		return
	}
	f := a.copied(len(packet6(ip)))
	f.bytes()[headerLen+7]-- // The hop limit.
	next := way.via
	if !next.IsValid() {
		next = dst
	}
	r.counts.Forwarded++
	way.port.transmit(a, f, next)
}

// localIPv6 answers pings and questions for neighbours.
func (r *Router) localIPv6(a arrival, ip header.IPv6, src, dst netip.Addr) {
	icmp := header.ICMPv6(packet6(ip).Payload())
	if ip.NextHeader() != protoICMPv6 || len(icmp) < header.ICMPv6MinimumSize || sum6(src, dst, icmp) != 0xffff {
		if !dst.IsMulticast() {
			r.drop(dropNotForUs)
			r.report6(a, header.ICMPv6DstUnreachable, header.ICMPv6PortUnreachable, 0)
		}
		return
	}
	switch icmp.Type() {
	case header.ICMPv6NeighborSolicit, header.ICMPv6NeighborAdvert:
		if ip.HopLimit() == neighbourHops && len(icmp) >= ndOptions {
			a.port.discovery(a, icmp, src)
		}
	case header.ICMPv6EchoRequest:
		if dst.IsMulticast() || src.IsUnspecified() {
			return
		}
		r.counts.Answered++
		answer := append([]byte{}, icmp...)
		answer[0] = byte(header.ICMPv6EchoReply)
		a.reply(r.icmp6(dst, src, ourTTL, answer))
	}
}

// discovery handles a question for a neighbour, or an answer (RFC 4861, 7.2).
func (p *routerPort) discovery(a arrival, icmp header.ICMPv6, src netip.Addr) {
	target := netip.AddrFrom16([16]byte(icmp[ndTarget:ndOptions]))
	option := icmp[ndOptions:]
	if icmp.Type() == header.ICMPv6NeighborAdvert {
		if len(option) >= 8 && option[0] == targetOption && !macOf(option[2:]).group() && !p.has(target) {
			p.learn(target, macOf(option[2:]), updateOnly, a.now, a.out)
		}
		return
	}
	if !p.has(target) {
		return
	}
	to, flags := src, uint32(naRouter|naOverride|naSolicited)
	if src.IsUnspecified() { // It asks whether the address is taken.
		to, flags = netip.IPv6LinkLocalAllNodes(), naRouter|naOverride
	} else if len(option) >= 8 && option[0] == sourceOption && !macOf(option[2:]).group() {
		p.learn(src, macOf(option[2:]), alsoNew, a.now, a.out)
	}
	p.router.counts.Answered++
	f := p.router.icmp6(target, to, neighbourHops, p.discoveryMessage(header.ICMPv6NeighborAdvert, flags, target, targetOption))
	if to.IsMulticast() {
		f.origin = p.router.origin
		p.put(a.out, f, multicastMAC(to))
		return
	}
	a.reply(f)
}

func (p *routerPort) discoveryMessage(kind header.ICMPv6Type, flags uint32, target netip.Addr, option byte) []byte {
	b := make([]byte, ndLength)
	b[0] = byte(kind)
	binary.BigEndian.PutUint32(b[4:], flags)
	copy(b[ndTarget:], target.AsSlice())
	b[ndOptions], b[ndOptions+1] = option, 1
	copy(b[ndOptions+2:], p.mac.bytes())
	return b
}

// solicitation is a question for a neighbour's MAC, sent to the group of all whose address ends like the neighbour's.
func (p *routerPort) solicitation(target netip.Addr) *frame {
	t := target.As16()
	group := netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 0xff, t[13], t[14], t[15]})
	from := p.addr6[0]
	for i, own := range p.addr6[1:] {
		if p.subnets[i+1].Contains(target) {
			from = own
		}
	}
	f := p.router.icmp6(from, group, neighbourHops, p.discoveryMessage(header.ICMPv6NeighborSolicit, 0, target, sourceOption))
	f.origin = p.router.origin
	b := f.bytes()
	copy(b, multicastMAC(group).bytes())
	copy(b[6:], p.mac.bytes())
	return f
}

// multicastMAC is where packets for an IPv6 group go (RFC 2464, 7).
func multicastMAC(group netip.Addr) mac {
	g := group.As16()
	return macOf([]byte{0x33, 0x33, g[12], g[13], g[14], g[15]})
}

// icmp6 is a frame with an ICMPv6 message, without its MAC addresses.
func (r *Router) icmp6(src, dst netip.Addr, hops uint8, message []byte) *frame {
	f := r.pool.get(headerLen + header.IPv6MinimumSize + len(message))
	b := f.bytes()
	binary.BigEndian.PutUint16(b[12:], etherIPv6)
	header.IPv6(b[headerLen:]).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(message)), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: hops,
		SrcAddr: tcpip.AddrFrom16(src.As16()), DstAddr: tcpip.AddrFrom16(dst.As16()),
	})
	icmp := header.ICMPv6(b[headerLen+header.IPv6MinimumSize:])
	copy(icmp, message)
	icmp.SetChecksum(0)
	icmp.SetChecksum(^sum6(src, dst, icmp))
	return f
}

// sum6 is the sum over an ICMPv6 message and its pseudo header.
func sum6(src, dst netip.Addr, icmp []byte) uint16 {
	pseudo := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, tcpip.AddrFrom16(src.As16()), tcpip.AddrFrom16(dst.As16()), uint16(len(icmp)))
	return checksum.Checksum(icmp, pseudo)
}

// report6 is report for IPv6 (RFC 4443, 2.4).
func (r *Router) report6(a arrival, kind header.ICMPv6Type, code header.ICMPv6Code, rest uint32) {
	ip := packet6(header.IPv6(a.payload()))
	src, dst := addrs6(ip)
	isError := ip.NextHeader() == protoICMPv6 && (len(ip.Payload()) == 0 || ip.Payload()[0] < 128)
	if a.frame.dst().group() || dst.IsMulticast() || src.IsUnspecified() || isError {
		return
	}
	if !r.limiter.AllowN(a.now, 1) {
		r.drop(dropICMPLimit)
		return
	}
	quoted := ip[:min(len(ip), quotedMost6-header.IPv6MinimumSize-8)]
	message := make([]byte, 8+len(quoted))
	message[0], message[1] = byte(kind), byte(code)
	binary.BigEndian.PutUint32(message[4:], rest)
	copy(message[8:], quoted)
	from := a.port.addr6[min(1, len(a.port.addr6)-1)]
	r.counts.Errors++
	a.reply(r.icmp6(from, src, ourTTL, message))
}
