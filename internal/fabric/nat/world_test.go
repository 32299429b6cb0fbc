package nat

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// segment describes a packet of the tests.
type segment struct {
	proto    Protocol
	src, dst string // host:port; for ICMP the port is the identifier of one side
	flags    byte   // of TCP
	kind     byte   // of ICMP
	payload  string
	id       uint16
	fragment uint16 // flags and offset
	noSum    bool   // UDP without a checksum
}

// build makes the packet with right checksums.
func build(s segment) []byte {
	src, dst := netip.MustParseAddrPort(s.src), netip.MustParseAddrPort(s.dst)
	var t []byte
	switch s.proto {
	case TCP:
		t = binary.BigEndian.AppendUint16(t, src.Port())
		t = binary.BigEndian.AppendUint16(t, dst.Port())
		t = append(t, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, s.flags, 0x10, 0, 0, 0, 0, 0)
	case UDP:
		t = binary.BigEndian.AppendUint16(t, src.Port())
		t = binary.BigEndian.AppendUint16(t, dst.Port())
		t = binary.BigEndian.AppendUint16(t, uint16(8+len(s.payload)))
		t = append(t, 0, 0)
	case ICMP:
		t = append(t, s.kind, 0, 0, 0)
		id := src.Port()
		if s.kind == echoReply {
			id = dst.Port()
		}
		t = binary.BigEndian.AppendUint16(t, id)
		t = append(t, 0, 1)
	}
	t = append(t, s.payload...)
	b := header(s.proto, src.Addr(), dst.Addr(), len(t), s.id, s.fragment)
	b = append(b, t...)
	if !s.noSum {
		sumTransport(b)
	}
	return b
}

func header(proto Protocol, src, dst netip.Addr, payload int, id, fragment uint16) []byte {
	b := []byte{0x45, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(20+payload))
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, fragment)
	b = append(b, 64, byte(proto), 0, 0)
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], ^sum(b))
	return b
}

// quoteOf makes an ICMP error of a type from one address to another about a packet, of which it quotes n payload bytes.
func quoteOf(kind byte, src, dst string, about []byte, n int) []byte {
	t := append([]byte{kind, 3, 0, 0, 0, 0, 0, 0}, about[:min(len(about), 20+n)]...)
	binary.BigEndian.PutUint16(t[2:], ^sum(t))
	return append(header(ICMP, netip.MustParseAddr(src), netip.MustParseAddr(dst), len(t), 9, 0), t...)
}

// sum is the ones' complement sum, written otherwise than in the package.
func sum(b []byte) uint16 {
	var total uint64
	for i, c := range b {
		total += uint64(c) << (8 * (1 - i%2))
	}
	return uint16(total % 0xffff) // 2^16 is 1 modulo 0xffff.
}

func pseudo(b []byte) []byte {
	p := append([]byte{}, b[12:20]...)
	p = append(p, 0, b[9])
	return binary.BigEndian.AppendUint16(p, uint16(len(b)-20))
}

func sumTransport(b []byte) {
	at := map[Protocol]int{TCP: 36, UDP: 26, ICMP: 22}[Protocol(b[9])]
	if at == 0 {
		return
	}
	over := append([]byte{}, b[20:]...)
	if b[9] != byte(ICMP) {
		over = append(pseudo(b), over...)
	}
	value := ^sum(over)
	if value == 0 && b[9] == byte(UDP) {
		value = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], value)
}

// sound tells whether the checksums of a whole packet with a 20-byte header are right, and those of what it quotes.
func sound(b []byte) bool {
	if sum(b[:20]) != 0 {
		return false
	}
	t := b[20:]
	switch Protocol(b[9]) {
	case UDP:
		if t[6] == 0 && t[7] == 0 {
			return true
		}
		return sum(append(pseudo(b), t...)) == 0
	case TCP:
		return sum(append(pseudo(b), t...)) == 0
	case ICMP:
		quotes := kindOfICMP(t[0]) == isError && len(t) >= 28
		return sum(t) == 0 && (!quotes || sum(t[8:28]) == 0)
	}
	return true
}

func srcOf(b []byte) string {
	p, _ := parse(b)
	src, _, _ := p.ends()
	return src.addrPort().String()
}

func dstOf(b []byte) string {
	p, _ := parse(b)
	_, dst, _ := p.ends()
	return dst.addrPort().String()
}

func same(a, b string) bool { return a == b }

// site is a NAT with a clock, and the hosts behind it.
type site struct {
	*NAT
	t   testing.TB
	now time.Time
}

const (
	wan    = "203.0.113.1" // the outside address of the NAT in most tests
	host   = "192.168.1.10"
	server = "198.51.100.1"
	other  = "198.51.100.2"
)

var start = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func newSite(t testing.TB, cfg Config, outside string) *site {
	t.Helper()
	n, err := New(cfg, netip.MustParseAddr(outside), rand.New(rand.NewPCG(1, 2)))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return &site{NAT: n, t: t, now: start}
}

// out sends from inside and returns the packet as the outside sees it, or nil.
func (s *site) out(p segment) []byte { return s.take(s.Outbound, build(p), Pass) }

// in sends from outside and returns the packet as the inside sees it, or nil.
func (s *site) in(p segment) []byte { return s.take(s.Inbound, build(p), Pass) }

// back sends from inside to the outside address.
func (s *site) back(p segment) []byte { return s.take(s.Hairpin, build(p), TurnBack) }

func (s *site) take(way func([]byte, time.Time) Verdict, b []byte, want Action) []byte {
	s.t.Helper()
	v := way(b, s.now)
	if (v.Cause == None) == (v.Action == Drop) {
		s.t.Fatalf("verdict %v", v)
	}
	if v.Action != want {
		return nil
	}
	if !sound(b) {
		s.t.Fatalf("checksums of % x", b)
	}
	return b
}

// udp sends a datagram from the host's port and returns the endpoint that the outside sees.
func (s *site) udp(from, to string) string {
	s.t.Helper()
	b := s.out(segment{proto: UDP, src: from, dst: to, payload: "hello"})
	NewWithT(s.t).Expect(b).NotTo(BeNil(), "from %s to %s", from, to)
	return srcOf(b)
}

// admits tells whether a datagram from outside gets in.
func (s *site) admits(from, to string) bool {
	s.t.Helper()
	return s.in(segment{proto: UDP, src: from, dst: to, payload: "hello"}) != nil
}

func behaviors() []Behavior {
	return []Behavior{EndpointIndependent, AddressDependent, AddressAndPortDependent}
}

func addrOf(hostPort string) netip.Addr { return netip.MustParseAddrPort(hostPort).Addr() }
