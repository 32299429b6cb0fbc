package nat

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestChecksumsStayRight(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewPCG(3, 4))
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Random, MaxPerHost: 1 << 16}, wan)
	for range 500 {
		payload := make([]byte, random.IntN(40))
		for i := range payload {
			payload[i] = byte(random.IntN(256))
		}
		for _, proto := range []Protocol{UDP, TCP, ICMP} {
			p := segment{
				proto: proto, kind: echoRequest, flags: flagSYN, payload: string(payload),
				src: fmt.Sprintf("10.0.%d.%d:%d", random.IntN(256), random.IntN(256), 1+random.IntN(65535)),
				dst: fmt.Sprintf("198.51.%d.%d:%d", random.IntN(256), random.IntN(256), 1+random.IntN(65535)),
			}
			b := s.out(p) // Fails the test where a checksum is wrong.
			if b == nil {
				t.Fatal("dropped")
			}
			p.src, p.dst, p.kind = p.dst, srcOf(b), echoReply
			g.Expect(s.in(p)).NotTo(BeNil())
		}
		if random.IntN(100) == 0 {
			s.Clear()
		}
	}
}

func TestAUDPChecksumIsNeverZeroByChance(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}, wan)
	// Of all payloads of two bytes one makes the translated packet's sum come out as zero.
	hit := false
	for v := range 0x10000 {
		b := s.out(segment{proto: UDP, src: host + ":5000", dst: server + ":1", payload: string(binary.BigEndian.AppendUint16(nil, uint16(v)))})
		sum := binary.BigEndian.Uint16(b[26:])
		if sum == 0 {
			t.Fatal("zero means none")
		}
		hit = hit || sum == 0xffff
	}
	g.Expect(hit).To(BeTrue())
}

func TestNoChecksumStaysNone(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Random}, wan)
	b := s.out(segment{proto: UDP, src: host + ":5000", dst: server + ":1", noSum: true})
	g.Expect(b[26:28]).To(Equal([]byte{0, 0}))
}

func TestABrokenChecksumStaysBroken(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Random}, wan)
	b := build(segment{proto: TCP, src: host + ":5000", dst: server + ":1", flags: flagSYN, payload: "abc"})
	b[41] ^= 4
	g.Expect(s.Outbound(b, s.now)).To(Equal(Verdict{Action: Pass}))
	g.Expect(sound(b)).To(BeFalse(), "the receiver shall see it")
	b[41] ^= 4
	g.Expect(sound(b)).To(BeTrue())
}

func TestFragmentsFollowTheFirst(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Random, Hairpin: true}, wan)
	pieces := func(src, dst string, id uint16) [2][]byte {
		whole := build(segment{proto: UDP, src: src, dst: dst, payload: "sixteen bytes ok"})
		first := append(header(UDP, addrOf(src), addrOf(dst), 16, id, moreFragments), whole[20:36]...)
		return [2][]byte{first, append(header(UDP, addrOf(src), addrOf(dst), 8, id, 2), whole[36:]...)}
	}
	join := func(p [2][]byte) []byte {
		b := append(append([]byte{}, p[0]...), p[1][20:]...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[6:], 0)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^sum(b[:20]))
		return b
	}
	through := func(way func([]byte, time.Time) Verdict, p [2][]byte, want Action) []byte {
		for _, b := range p {
			g.Expect(way(b, s.now)).To(Equal(Verdict{Action: want}))
			g.Expect(sum(b[:20])).To(BeZero())
		}
		g.Expect(p[0][4:6]).To(Equal(p[1][4:6]), "one identification")
		whole := join(p)
		g.Expect(sound(whole)).To(BeTrue())
		return whole
	}
	one := pieces(host+":5000", server+":1", 77)
	two := pieces("192.168.1.11:5000", server+":1", 77)
	mapped := srcOf(through(s.Outbound, one, Pass))
	through(s.Outbound, two, Pass)
	g.Expect(one[0][4:6]).NotTo(Equal(two[0][4:6]), "two hosts' datagrams stay apart")
	g.Expect(dstOf(through(s.Inbound, pieces(server+":1", mapped, 99), Pass))).To(Equal(host + ":5000"))
	g.Expect(dstOf(through(s.Hairpin, pieces("192.168.1.11:5000", mapped, 99), TurnBack))).To(Equal(host + ":5000"))

	lost := pieces(host+":5000", server+":1", 78)
	g.Expect(s.Outbound(lost[1], s.now)).To(Equal(Verdict{Drop, FragmentLost}))
	s.Outbound(lost[0], s.now)
	s.now = s.now.Add(fragmentTimeout)
	g.Expect(s.Outbound(pieces(host+":5000", server+":1", 78)[1], s.now)).To(Equal(Verdict{Drop, FragmentLost}), "too late")
}

func TestFragmentsAreForgottenOldestFirst(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Firewall: DropInbound}, wan)
	first := func(id int) []byte {
		return build(segment{proto: UDP, src: host + ":5000", dst: server + ":1", id: uint16(id), fragment: moreFragments, payload: "12345678"})
	}
	later := func(id int) []byte {
		return build(segment{proto: UDP, src: host + ":5000", dst: server + ":1", id: uint16(id), fragment: 2})
	}
	for id := range maxFragments + 10 {
		s.Outbound(first(id), s.now)
		s.Outbound(first(id), s.now) // A duplicate takes no more room.
	}
	g.Expect(s.fragments.rules).To(HaveLen(maxFragments))
	g.Expect(s.Outbound(later(9), s.now)).To(Equal(Verdict{Drop, FragmentLost}))
	g.Expect(s.Outbound(later(10), s.now)).To(Equal(Verdict{Action: Pass}))
}

func TestMalformedPacketsAreDropped(t *testing.T) {
	g := NewWithT(t)
	good := build(segment{proto: TCP, src: host + ":5000", dst: server + ":1", flags: flagSYN})
	change := func(at int, to ...byte) []byte {
		b := append([]byte{}, good...)
		copy(b[at:], to)
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"a cut header":            good[:19],
		"version 6":               change(0, 0x65),
		"a header too short":      change(0, 0x44),
		"a header too long":       change(0, 0x4f),
		"longer than it is":       change(2, 0xff, 0xff),
		"shorter than its header": change(2, 0, 19),
		"a cut TCP header":        change(2, 0, 39),
		"a cut UDP header":        append(change(2, 0, 27)[:9], append([]byte{17}, good[10:]...)...),
		"a cut ICMP header":       append(change(2, 0, 27)[:9], append([]byte{1}, good[10:]...)...),
	} {
		s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Hairpin: true}, wan)
		s.outside = addr{198, 51, 100, 1}
		for _, way := range []func([]byte, time.Time) Verdict{s.Outbound, s.Inbound, s.Hairpin} {
			v := way(append([]byte{}, b...), s.now)
			g.Expect(v.Action == Drop && v.Cause == Malformed || v.Action == Local).To(BeTrue(), "%s: %v", name, v)
		}
	}
}

// FuzzTranslate sends any bytes any way through a NAT that has some mappings. It must not panic, must not change the length,
// and must leave right checksums right.
func FuzzTranslate(f *testing.F) {
	udp := build(segment{proto: UDP, src: host + ":5000", dst: server + ":1", payload: "abc"})
	f.Add(uint8(0), udp)
	f.Add(uint8(1), build(segment{proto: TCP, src: server + ":1", dst: wan + ":5000", flags: flagSYN}))
	f.Add(uint8(1), quoteOf(unreachable, server, wan, build(segment{proto: UDP, src: wan + ":5000", dst: server + ":1"}), 8))
	f.Add(uint8(0), quoteOf(timeExceeded, host, server, build(segment{proto: UDP, src: server + ":1", dst: host + ":5000"}), 8))
	f.Add(uint8(2), build(segment{proto: UDP, src: host + ":1", dst: wan + ":5000"}))
	f.Add(uint8(3), build(segment{proto: ICMP, kind: echoRequest, src: host + ":1", dst: server + ":0", fragment: moreFragments}))
	f.Add(uint8(3), build(segment{proto: UDP, src: host + ":1", dst: server + ":0", fragment: 3}))
	f.Add(uint8(13), build(segment{proto: 47, src: host + ":1", dst: server + ":0", payload: "12345"}))
	f.Fuzz(func(t *testing.T, how uint8, b []byte) {
		cfg := Config{Mapping: behaviors()[how/3%3], Filtering: behaviors()[how/9%3], Hairpin: true, Ports: Random}
		if how > 200 {
			cfg = Config{Firewall: DropInbound}
		}
		s := newSite(t, cfg, wan)
		s.udp(host+":5000", server+":1")
		s.out(segment{proto: TCP, src: host + ":5000", dst: server + ":1", flags: flagSYN})
		s.out(segment{proto: ICMP, kind: echoRequest, src: host + ":5000", dst: server + ":0"})
		good := whole(b) && sound(b)
		way := []func([]byte, time.Time) Verdict{s.Outbound, s.Inbound, s.Hairpin}[how%3]
		v := way(b, s.now)
		if (v.Cause == None) == (v.Action == Drop) {
			t.Fatalf("verdict %v", v)
		}
		if good && v.Action != Drop && !sound(b) {
			t.Fatalf("checksums of % x", b)
		}
	})
}

// whole tells whether b is one packet, not a fragment, with a header of 20 bytes and a whole transport header.
func whole(b []byte) bool {
	p, ok := parse(b)
	return ok && p.hl == 20 && len(p.b) == len(b) && !p.isFragment() && kindOf(p) != isBad
}
