package fabric

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	ourTTL      = 64
	quotedBytes = 8 // of the offending packet's payload (RFC 792)
)

// mayAnswer tells whether an ICMP error may be sent about a valid IPv4 packet (RFC 1812, 4.3.2.7): not about an ICMP error,
// a later fragment, a packet to many, or one whose source is not one host of the subnet.
func mayAnswer(ip header.IPv4, subnet netip.Prefix) bool {
	src, dst := netip.AddrFrom4(ip.SourceAddress().As4()), netip.AddrFrom4(ip.DestinationAddress().As4())
	if ip.FragmentOffset() != 0 || !ip.IsChecksumValid() {
		return false
	}
	if dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || dst == lastAddr(subnet) {
		return false
	}
	if !subnet.Contains(src) || src == lastAddr(subnet) || src == subnet.Masked().Addr() {
		return false
	}
	return !isICMPError(ip)
}

func isICMPError(ip header.IPv4) bool {
	if ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) {
		return false
	}
	payload := ip.Payload()
	if len(payload) == 0 {
		return true // Not known to be a query.
	}
	switch header.ICMPv4Type(payload[0]) {
	case header.ICMPv4Echo, header.ICMPv4EchoReply, header.ICMPv4Timestamp, header.ICMPv4TimestampReply,
		header.ICMPv4InfoRequest, header.ICMPv4InfoReply:
		return false
	}
	return true
}

// lastAddr is the subnet's directed broadcast address.
func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

// prohibited makes the ICMP error, from the address given, about the valid packet ip that came in frame f.
func prohibited(pool *framePool, f *frame, ip header.IPv4, from mac, addr netip.Addr) *frame {
	quoted := ip[:min(int(ip.TotalLength()), int(ip.HeaderLength())+quotedBytes)]
	out := pool.get(headerLen + header.IPv4MinimumSize + header.ICMPv4MinimumSize + len(quoted))
	b := out.bytes()
	putEthernet(b, from, f.src())
	src := netip.AddrFrom4(ip.SourceAddress().As4())
	putIPv4(b[headerLen:], uint8(header.ICMPv4ProtocolNumber), addr, src)
	icmp := header.ICMPv4(b[headerLen+header.IPv4MinimumSize:])
	clear(icmp[:header.ICMPv4MinimumSize])
	icmp.SetType(header.ICMPv4DstUnreachable)
	icmp.SetCode(header.ICMPv4AdminProhibited)
	copy(icmp[header.ICMPv4MinimumSize:], quoted)
	icmp.SetChecksum(^checksum.Checksum(icmp, 0))
	return out
}

// putEthernet writes the header of an IPv4 frame.
func putEthernet(b []byte, src, dst mac) {
	copy(b, dst.bytes())
	copy(b[6:], src.bytes())
	b[12], b[13] = 0x08, 0x00
}

// putIPv4 writes the header of a packet that fills b.
func putIPv4(b []byte, protocol uint8, src, dst netip.Addr) {
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: ourTTL, Protocol: protocol,
		SrcAddr: addressOf(src), DstAddr: addressOf(dst),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
}

// udpPacket is what a UDP datagram in an Ethernet frame consists of.
type udpPacket struct {
	srcMAC, dstMAC mac
	src, dst       netip.AddrPort
	payload        []byte
}

func udpFrame(pool *framePool, p udpPacket) *frame {
	size := header.UDPMinimumSize + len(p.payload)
	out := pool.get(headerLen + header.IPv4MinimumSize + size)
	b := out.bytes()
	putEthernet(b, p.srcMAC, p.dstMAC)
	putIPv4(b[headerLen:], uint8(header.UDPProtocolNumber), p.src.Addr(), p.dst.Addr())
	u := header.UDP(b[headerLen+header.IPv4MinimumSize:])
	u.Encode(&header.UDPFields{SrcPort: p.src.Port(), DstPort: p.dst.Port(), Length: uint16(size)})
	copy(u.Payload(), p.payload)
	pseudo := header.PseudoHeaderChecksum(header.UDPProtocolNumber, addressOf(p.src.Addr()), addressOf(p.dst.Addr()), uint16(size))
	u.SetChecksum(^checksum.Checksum(u, pseudo))
	return out
}
