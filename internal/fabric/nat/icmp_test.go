package nat

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestPingIsMappedByItsIdentifier(t *testing.T) {
	for _, kind := range []byte{echoRequest, timestampRequest} {
		for _, b := range behaviors() {
			t.Run(fmt.Sprint(kind, b), func(t *testing.T) {
				g := NewWithT(t)
				s := newSite(t, Config{Mapping: b, Filtering: b}, wan)
				ask := func(from, to string) string {
					return srcOf(s.out(segment{proto: ICMP, kind: kind, src: from, dst: to + ":0", payload: "abc"}))
				}
				g.Expect(ask(host+":7", server)).To(Equal(wan + ":7"))
				g.Expect(ask("192.168.1.11:7", server)).To(Equal(wan+":8"), "the identifier is taken")
				g.Expect(same(ask(host+":7", other), wan+":7")).To(Equal(b == EndpointIndependent))
				reply := s.in(segment{proto: ICMP, kind: echoReply, src: server + ":0", dst: wan + ":8", payload: "abc"})
				g.Expect(dstOf(reply)).To(Equal("192.168.1.11:7"))
				g.Expect(s.in(segment{proto: ICMP, kind: echoReply, src: "198.51.100.77:0", dst: wan + ":8"}) != nil).
					To(Equal(b == EndpointIndependent), "a reply from elsewhere")
				s.now = s.now.Add(DefaultICMPTimeout)
				g.Expect(s.in(segment{proto: ICMP, kind: echoReply, src: server + ":0", dst: wan + ":8"})).To(BeNil())
			})
		}
	}
}

func TestPingsFromOutsideAreForTheRouter(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}, wan)
	s.out(segment{proto: ICMP, kind: echoRequest, src: host + ":7", dst: server + ":0"})
	ping := build(segment{proto: ICMP, kind: echoRequest, src: server + ":7", dst: wan + ":0"})
	g.Expect(s.Inbound(ping, s.now)).To(Equal(Verdict{Action: Local}))
	ping = build(segment{proto: ICMP, kind: echoRequest, src: host + ":7", dst: wan + ":0"})
	g.Expect(s.Hairpin(ping, s.now)).To(Equal(Verdict{Action: Local}))
	reply := build(segment{proto: ICMP, kind: echoReply, src: host + ":0", dst: server + ":7"})
	g.Expect(s.Outbound(reply, s.now)).To(Equal(Verdict{Drop, NoSession}))
	reply = build(segment{proto: ICMP, kind: echoReply, src: server + ":0", dst: wan + ":99"})
	g.Expect(s.Inbound(reply, s.now)).To(Equal(Verdict{Drop, Unsolicited}))
}

// TestErrorsAreTranslatedBothWays sends a packet through, has someone answer with an ICMP error about it as it arrived, and
// expects the sender to see the packet it sent, whole or in the least that may be quoted.
func TestErrorsAreTranslatedBothWays(t *testing.T) {
	for _, proto := range []Protocol{UDP, TCP, ICMP} {
		for _, kind := range []byte{unreachable, sourceQuench, timeExceeded, parameterProblem} {
			for _, quotes := range []int{8, 12, 28, 1000} {
				t.Run(fmt.Sprintf("%s type %d with %d bytes", proto, kind, quotes), func(t *testing.T) {
					g := NewWithT(t)
					s := newSite(t, Config{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Random}, wan)
					sent := build(segment{proto: proto, src: host + ":5000", dst: server + ":80", kind: echoRequest, flags: flagSYN, payload: "some payload"})
					arrived := append([]byte{}, sent...)
					g.Expect(s.Outbound(arrived, s.now)).To(Equal(Verdict{Action: Pass}))
					g.Expect(srcOf(arrived)).NotTo(Equal(host + ":5000"))

					// From a router on the way.
					back := s.take(s.Inbound, quoteOf(kind, "198.51.100.254", wan, arrived, quotes), Pass)
					g.Expect(back).NotTo(BeNil())
					g.Expect(back[12:20]).To(Equal([]byte{198, 51, 100, 254, 192, 168, 1, 10}))
					g.Expect(back[28:]).To(Equal(sent[:min(len(sent), 20+quotes)]), "what is quoted is what was sent")
				})
			}
		}
	}
}

func TestErrorsFromInsideShowTheOutside(t *testing.T) {
	for _, from := range []string{host, "192.168.1.1"} {
		g := NewWithT(t)
		s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Random}, wan)
		mapped := s.udp(host+":5000", server+":1")
		came := build(segment{proto: UDP, src: other + ":9", dst: mapped, payload: "abc"})
		inside := append([]byte{}, came...)
		g.Expect(s.Inbound(inside, s.now)).To(Equal(Verdict{Action: Pass}))
		out := s.take(s.Outbound, quoteOf(unreachable, from, other, inside, 100), Pass)
		g.Expect(out).NotTo(BeNil())
		g.Expect(out[12:16]).To(Equal([]byte{203, 0, 113, 1}), "sent by %s", from)
		g.Expect(out[28:]).To(Equal(came))
	}
}

func TestErrorsAboutNothingKnownAreDropped(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}, wan)
	s.udp(host+":5000", server+":1")
	known := build(segment{proto: UDP, src: wan + ":5000", dst: server + ":1"})
	g.Expect(s.Inbound(quoteOf(unreachable, server, wan, known, 8), s.now)).To(Equal(Verdict{Action: Pass}))
	later := build(segment{proto: UDP, src: wan + ":5000", dst: server + ":1", fragment: 5})
	for name, about := range map[string][]byte{
		"no mapping":       build(segment{proto: UDP, src: wan + ":5001", dst: server + ":1"}),
		"no session":       build(segment{proto: UDP, src: wan + ":5000", dst: server + ":2"}),
		"a later fragment": later,
		"an ICMP error":    quoteOf(unreachable, wan, server, known, 8),
		"another protocol": build(segment{proto: 47, src: wan + ":0", dst: server + ":0", payload: "0123456789"}),
		"too little":       known[:24],
		"nothing":          nil,
	} {
		g.Expect(s.Inbound(quoteOf(unreachable, server, wan, about, 100), s.now)).To(Equal(Verdict{Drop, NoSession}), name)
		g.Expect(s.Outbound(quoteOf(unreachable, host, server, about, 100), s.now)).To(Equal(Verdict{Drop, NoSession}), name)
	}
}

func TestErrorsHairpin(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Hairpin: true}, wan)
	s.udp("192.168.1.11:6000", server+":1")
	sent := build(segment{proto: UDP, src: host + ":5000", dst: wan + ":6000", payload: "abc"})
	arrived := s.take(s.Hairpin, append([]byte{}, sent...), TurnBack)
	g.Expect(dstOf(arrived)).To(Equal("192.168.1.11:6000"))
	back := s.take(s.Hairpin, quoteOf(unreachable, "192.168.1.11", wan, arrived, 100), TurnBack)
	g.Expect(back).NotTo(BeNil())
	g.Expect(back[12:20]).To(Equal([]byte{203, 0, 113, 1, 192, 168, 1, 10}))
	g.Expect(back[28:]).To(Equal(sent))
}

func TestOtherProtocolsAreNotTranslated(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Hairpin: true}, wan)
	gre := build(segment{proto: 47, src: host + ":0", dst: server + ":0", payload: "0123456789"})
	g.Expect(s.Outbound(gre, s.now)).To(Equal(Verdict{Drop, Unsupported}))
	gre = build(segment{proto: 47, src: server + ":0", dst: wan + ":0", payload: "0123456789"})
	g.Expect(s.Inbound(gre, s.now)).To(Equal(Verdict{Drop, Unsupported}))
	g.Expect(s.Hairpin(build(segment{proto: 47, src: host + ":0", dst: wan + ":0"}), s.now)).To(Equal(Verdict{Drop, Unsupported}))
	redirect := quoteOf(5, server, wan, gre, 8)
	g.Expect(s.Inbound(redirect, s.now)).To(Equal(Verdict{Drop, Unsupported}))
	g.Expect(s.Outbound(build(segment{proto: UDP, src: host + ":1", dst: server + ":1"})[:26], s.now)).To(Equal(Verdict{Drop, Malformed}))
}

func TestPingLastsAMinuteUnlessItGoesOn(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, ICMPTimeout: 10 * time.Second}, wan)
	for range 5 {
		s.out(segment{proto: ICMP, kind: echoRequest, src: host + ":7", dst: server + ":0"})
		s.now = s.now.Add(9 * time.Second)
	}
	g.Expect(s.Mappings(s.now)).To(HaveLen(1))
	g.Expect(s.Mappings(s.now.Add(time.Second))).To(BeEmpty())
}
