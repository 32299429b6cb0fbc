package nat

import (
	"encoding/binary"
	"net/netip"
)

// addr and endpoint are addresses in the form that is cheap to compare and to hash.
type addr [4]byte

type endpoint struct {
	addr addr
	port uint16 // an ICMP query's identifier; 0 for its peer
}

func (e endpoint) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(e.addr), e.port)
}

func endpointOf(a netip.AddrPort) endpoint { return endpoint{addr: a.Addr().As4(), port: a.Port()} }

// Offsets in an IPv4 header (RFC 791).
const (
	minHeader   = 20
	totalLength = 2
	ident       = 4
	fragment    = 6
	protocol    = 9
	ipChecksum  = 10
	source      = 12
	destination = 16

	moreFragments = 0x2000
	offsetMask    = 0x1fff
)

// packet is an IPv4 packet without padding, or as much of one as an ICMP error quotes.
type packet struct {
	b  []byte
	hl int // length of the IP header
}

// parse takes a whole packet.
func parse(b []byte) (packet, bool) {
	p, ok := parseHeader(b)
	if !ok {
		return packet{}, false
	}
	total := int(binary.BigEndian.Uint16(b[totalLength:]))
	if total < p.hl || total > len(b) {
		return packet{}, false
	}
	p.b = b[:total]
	return p, true
}

// parseHeader takes a packet of which the end may be missing.
func parseHeader(b []byte) (packet, bool) {
	if len(b) < minHeader || b[0]>>4 != 4 {
		return packet{}, false
	}
	hl := int(b[0]&0xf) * 4
	if hl < minHeader || hl > len(b) {
		return packet{}, false
	}
	return packet{b: b, hl: hl}, true
}

func (p packet) protocol() Protocol { return Protocol(p.b[protocol]) }
func (p packet) src() addr          { return addr(p.b[source:]) }
func (p packet) dst() addr          { return addr(p.b[destination:]) }
func (p packet) id() uint16         { return binary.BigEndian.Uint16(p.b[ident:]) }
func (p packet) payload() []byte    { return p.b[p.hl:] }

func (p packet) isLaterFragment() bool {
	return binary.BigEndian.Uint16(p.b[fragment:])&offsetMask != 0
}

func (p packet) isFragment() bool {
	return binary.BigEndian.Uint16(p.b[fragment:])&(offsetMask|moreFragments) != 0
}

// ends are a packet's endpoints. It returns false where the transport header is cut off or has no ports.
func (p packet) ends() (src, dst endpoint, ok bool) {
	t := p.payload()
	src.addr, dst.addr = p.src(), p.dst()
	switch {
	case p.protocol() == ICMP && len(t) >= icmpHeader:
		id := binary.BigEndian.Uint16(t[icmpIdent:])
		src.port, dst.port = id, id
	case p.protocol() == TCP && len(t) >= quotedTransport, p.protocol() == UDP && len(t) >= quotedTransport:
		src.port, dst.port = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	default:
		return src, dst, false
	}
	return src, dst, true
}

const (
	quotedTransport = 8 // what an ICMP error quotes at least (RFC 792)
	tcpHeader       = 20
	tcpFlags        = 13
	tcpChecksum     = 16
	udpChecksum     = 6
)

// side is one end of a packet: where its address is in the IP header, and its port in that of TCP or UDP.
type side struct{ addr, port int }

var (
	srcSide = side{source, 0}
	dstSide = side{destination, 2}
)

// setAddr replaces one end's address and corrects the IP checksum.
func (p packet) setAddr(s side, to addr) {
	field := p.b[s.addr : s.addr+4]
	fix(p.b[ipChecksum:], field, to[:])
	copy(field, to[:])
}

// setID replaces the identification of a fragmented packet.
func (p packet) setID(id uint16) {
	var to [2]byte
	binary.BigEndian.PutUint16(to[:], id)
	fix(p.b[ipChecksum:], p.b[ident:ident+2], to[:])
	copy(p.b[ident:], to[:])
}

// set replaces one end's address and port, or identifier, and corrects the checksums that are there.
func (p packet) set(s side, to endpoint) {
	t := p.payload()
	was := addr(p.b[s.addr:])
	p.setAddr(s, to.addr)
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], to.port)
	at, sum, pseudo := s.port, tcpChecksum, true
	switch p.protocol() {
	case UDP:
		sum = udpChecksum
	case ICMP:
		at, sum, pseudo = icmpIdent, icmpChecksum, false
	}
	field := t[at : at+2]
	if len(t) >= sum+2 && (p.protocol() != UDP || t[sum] != 0 || t[sum+1] != 0) {
		if pseudo {
			fix(t[sum:], was[:], to.addr[:])
		}
		fix(t[sum:], field, port[:])
		if p.protocol() == UDP && t[sum] == 0 && t[sum+1] == 0 {
			t[sum], t[sum+1] = 0xff, 0xff // Zero would mean "none" (RFC 768).
		}
	}
	copy(field, port[:])
}

// fix corrects the checksum at the beginning of sum for a change of bytes at an even offset (RFC 1624, equation 3).
func fix(sum, was, is []byte) {
	acc := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i+1 < len(was); i += 2 {
		acc += uint32(^binary.BigEndian.Uint16(was[i:])) + uint32(binary.BigEndian.Uint16(is[i:]))
	}
	binary.BigEndian.PutUint16(sum, ^fold(acc))
}

// add is the ones' complement sum of b, an odd byte padded with zero.
func add(b []byte) uint16 {
	var acc uint32
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return fold(acc)
}

func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc&0xffff + acc>>16
	}
	return uint16(acc)
}
