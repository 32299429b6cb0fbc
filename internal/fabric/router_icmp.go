package fabric

import (
	"encoding/binary"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"ionlab/internal/fabric/nat"
)

// quotedMost is how long an ICMP error of a router may be (RFC 1812, 4.3.2.3).
const quotedMost = 576

// translation is one of the ways through NAT.
type translation func(pkt []byte, now time.Time) nat.Verdict

// localIPv4 handles a packet for the router itself: it answers pings and says no to everything else but ICMP.
func (r *Router) localIPv4(a arrival, ip header.IPv4) {
	if ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) {
		r.drop(dropNotForUs)
		code := header.ICMPv4ProtoUnreachable
		if p := ip.Protocol(); p == uint8(header.TCPProtocolNumber) || p == uint8(header.UDPProtocolNumber) {
			code = header.ICMPv4PortUnreachable
		}
		r.report(a, header.ICMPv4DstUnreachable, code, 0)
		return
	}
	icmp := header.ICMPv4(ip.Payload())
	whole := ip.FragmentOffset() == 0 && ip.Flags()&header.IPv4FlagMoreFragments == 0
	if !whole || len(icmp) < header.ICMPv4MinimumSize || icmp.Type() != header.ICMPv4Echo || checksum.Checksum(icmp, 0) != 0xffff {
		r.drop(dropNotForUs)
		return
	}
	r.counts.Answered++
	src, dst := addrs4(ip)
	f := a.copied(int(ip.TotalLength()))
	f.origin = r.origin
	hl := int(ip.HeaderLength())
	answer := header.IPv4(f.bytes()[headerLen:])
	copy(answer[12:], dst.AsSlice())
	copy(answer[16:], src.AsSlice())
	answer.SetTTL(ourTTL)
	answer.SetChecksum(0)
	answer.SetChecksum(^answer.CalculateChecksum())
	reply := header.ICMPv4(answer[hl:])
	reply.SetType(header.ICMPv4EchoReply)
	reply.SetChecksum(0)
	reply.SetChecksum(^checksum.Checksum(reply, 0))
	a.reply(f)
}

// report sends an ICMP error about an arrival back to where it came from, unless there may be none (RFC 1812, 4.3.2.7) or
// there have been too many. Rest is the second word of the message.
func (r *Router) report(a arrival, kind header.ICMPv4Type, code header.ICMPv4Code, rest uint32) {
	ip := header.IPv4(a.payload())
	if a.frame.dst().group() || ip.FragmentOffset() != 0 || isICMPError(ip) {
		return
	}
	if !r.limiter.AllowN(a.now, 1) {
		r.drop(dropICMPLimit)
		return
	}
	const headers = header.IPv4MinimumSize + header.ICMPv4MinimumSize
	quoted := ip[:min(int(ip.TotalLength()), quotedMost-headers)]
	f := r.pool.get(headerLen + headers + len(quoted))
	b := f.bytes()
	to, _ := addrs4(ip)
	putIPv4(b[headerLen:], uint8(header.ICMPv4ProtocolNumber), a.port.addr, to)
	icmp := header.ICMPv4(b[headerLen+header.IPv4MinimumSize:])
	clear(icmp[:header.ICMPv4MinimumSize])
	icmp.SetType(kind)
	icmp.SetCode(code)
	binary.BigEndian.PutUint32(icmp[4:], rest)
	copy(icmp[header.ICMPv4MinimumSize:], quoted)
	icmp.SetChecksum(^checksum.Checksum(icmp, 0))
	r.counts.Errors++
	a.reply(f)
}
