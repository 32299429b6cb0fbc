package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestPortsAreNeverShared(t *testing.T) {
	for _, ports := range []Ports{Preserve, Random} {
		g := NewWithT(t)
		s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: ports}, wan)
		seen := map[string]bool{}
		for i := range 50 {
			for _, port := range []int{5000, 53, 65535} {
				mapped := s.udp(fmt.Sprintf("192.168.1.%d:%d", i+1, port), server+":1")
				g.Expect(seen[mapped]).To(BeFalse(), mapped)
				seen[mapped] = true
				low := netip.MustParseAddrPort(mapped).Port() < 1024
				g.Expect(low).To(Equal(port < 1024), "%d becomes %s", port, mapped)
			}
		}
	}
}

func TestAPreservedPortThatIsTakenBecomesTheNext(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent}, wan)
	g.Expect(s.udp(host+":65534", server+":1")).To(Equal(wan + ":65534"))
	g.Expect(s.udp(host+":65534", server+":2")).To(Equal(wan + ":65535"))
	g.Expect(s.udp(host+":65534", server+":3")).To(Equal(wan+":1024"), "not below")
	b := s.out(segment{proto: TCP, src: host + ":65534", dst: server + ":1", flags: flagSYN})
	g.Expect(srcOf(b)).To(Equal(wan+":65534"), "each protocol has its own ports")
}

func TestRandomPortsComeFromTheSeed(t *testing.T) {
	draw := func(seed uint64) (ports []string) {
		n, _ := New(Config{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Random}, netip.MustParseAddr(wan), rand.New(rand.NewPCG(seed, 0)))
		s := &site{NAT: n, t: t, now: start}
		for i := range 5 {
			ports = append(ports, s.udp(host+":5000", fmt.Sprintf("%s:%d", server, i+1)))
		}
		return ports
	}
	g := NewWithT(t)
	g.Expect(draw(1)).To(Equal(draw(1)))
	g.Expect(draw(1)).NotTo(Equal(draw(2)))
}

func TestHairpin(t *testing.T) {
	for _, filtering := range behaviors() {
		g := NewWithT(t)
		s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: filtering, Hairpin: true}, wan)
		s.udp("192.168.1.11:6000", server+":1")
		call := segment{proto: UDP, src: host + ":5000", dst: wan + ":6000", payload: "hi"}
		b := s.back(call)
		g.Expect(b != nil).To(Equal(filtering == EndpointIndependent), "as from outside: %s", filtering)
		s.back(segment{proto: UDP, src: "192.168.1.11:6000", dst: wan + ":5000"})
		b = s.back(call)
		g.Expect(b).NotTo(BeNil(), "%s, after the other has sent too", filtering)
		g.Expect(srcOf(b)).To(Equal(wan+":5000"), "the external source address")
		g.Expect(dstOf(b)).To(Equal("192.168.1.11:6000"))
	}
}

func TestHairpinOffOrToNobody(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}, wan)
	s.udp("192.168.1.11:6000", server+":1")
	call := segment{proto: UDP, src: host + ":5000", dst: wan + ":6000"}
	g.Expect(s.Hairpin(build(call), s.now)).To(Equal(Verdict{Drop, HairpinOff}))
	cfg := s.Config()
	cfg.Hairpin = true
	g.Expect(s.SetConfig(cfg)).To(Succeed())
	g.Expect(s.back(call)).NotTo(BeNil(), "at once")
	call.dst = wan + ":6001"
	g.Expect(s.Hairpin(build(call), s.now)).To(Equal(Verdict{Drop, Unsolicited}))
	call.src = host + ":5001"
	s.Hairpin(build(call), s.now)
	g.Expect(s.Mappings(s.now)).To(HaveLen(2), "a call to nobody makes no mapping")
}

func TestForwards(t *testing.T) {
	for _, mapping := range behaviors() {
		for _, firewall := range []Firewall{Open, DropInbound} {
			t.Run(mapping.String()+" "+firewall.String(), func(t *testing.T) {
				g := NewWithT(t)
				s := newSite(t, Config{
					Mapping: mapping, Filtering: AddressAndPortDependent, Ports: Random, Firewall: firewall, Hairpin: true,
					Forwards: []Forward{{TCP, 8022, netip.MustParseAddrPort(host + ":22")}, {UDP, 53, netip.MustParseAddrPort(host + ":53")}},
				}, wan)
				for _, proto := range []Protocol{TCP, UDP} {
					outside, inside := wan+":8022", host+":22"
					if proto == UDP {
						outside, inside = wan+":53", host+":53"
					}
					b := s.in(segment{proto: proto, src: other + ":999", dst: outside, flags: flagSYN})
					g.Expect(b).NotTo(BeNil())
					g.Expect(dstOf(b)).To(Equal(inside))
					b = s.out(segment{proto: proto, src: inside, dst: other + ":999", flags: flagSYN | flagACK})
					g.Expect(srcOf(b)).To(Equal(outside), "the answer comes from where the question went")
					b = s.out(segment{proto: proto, src: inside, dst: server + ":999", flags: flagSYN})
					g.Expect(same(srcOf(b), outside)).To(Equal(mapping == EndpointIndependent))
				}
				b := s.back(segment{proto: TCP, src: "192.168.1.11:40000", dst: wan + ":8022", flags: flagSYN})
				g.Expect(dstOf(b)).To(Equal(host+":22"), "from inside too")
				s.now = s.now.Add(1000 * time.Hour)
				g.Expect(s.in(segment{proto: TCP, src: other + ":1", dst: wan + ":8022", flags: flagSYN})).NotTo(BeNil())
				list := s.Mappings(s.now)
				g.Expect(list[0].String()).To(Equal("tcp 192.168.1.10:22 as 203.0.113.1:8022, static"))
				g.Expect(list[0].Expires.IsZero()).To(BeTrue())
			})
		}
	}
}

func TestForwardsChangeWhileRunning(t *testing.T) {
	g := NewWithT(t)
	to := netip.MustParseAddrPort(host + ":22")
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: AddressDependent, Forwards: []Forward{{TCP, 22, to}, {TCP, 23, netip.MustParseAddrPort(host + ":23")}}}, wan)
	g.Expect(s.udp(host+":5000", server+":1")).To(Equal(wan + ":5000"))
	s.out(segment{proto: TCP, src: "192.168.1.11:8022", dst: server + ":80", flags: flagSYN})
	cfg := s.Config()
	cfg.Forwards = []Forward{{TCP, 8022, to}, {TCP, 23, netip.MustParseAddrPort(host + ":23")}}
	g.Expect(s.SetConfig(cfg)).To(Succeed())
	syn := segment{proto: TCP, src: other + ":1", dst: wan + ":22", flags: flagSYN}
	g.Expect(s.in(syn)).To(BeNil())
	syn.dst = wan + ":8022"
	g.Expect(dstOf(s.in(syn))).To(Equal(host+":22"), "the forward takes the port")
	syn.dst = wan + ":23"
	g.Expect(s.in(syn)).NotTo(BeNil())
	g.Expect(s.admits(server+":1", wan+":5000")).To(BeTrue(), "other mappings stay")
}

func TestTheFirewallDropsWhatWasNotAskedFor(t *testing.T) {
	for _, name := range Presets() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cfg, _ := Preset(name)
			s := newSite(t, cfg, wan)
			here := s.udp(host+":5000", server+":1")
			g.Expect(same(here, host+":5000")).To(Equal(name == "none"))
			anyone := name == "none" || name == "full-cone"
			g.Expect(s.admits(other+":1", here)).To(Equal(anyone))
			cfg.Firewall = DropInbound
			g.Expect(s.SetConfig(cfg)).To(Succeed())
			s.udp(host+":5000", server+":1")
			g.Expect(s.admits(other+":1", here)).To(BeFalse(), "in force at once")
			g.Expect(s.admits(server+":2", here)).To(BeFalse())
			g.Expect(s.admits(server+":1", here)).To(BeTrue(), "an answer")
			cfg.Firewall = Open
			g.Expect(s.SetConfig(cfg)).To(Succeed())
			g.Expect(s.admits(other+":1", here)).To(Equal(anyone))
		})
	}
}

func TestTheFirewallWithoutTranslationKnowsEveryProtocol(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Firewall: DropInbound}, wan)
	gre := func(src, dst string) segment { return segment{proto: 47, src: src, dst: dst, payload: "0123456789"} }
	g.Expect(s.in(gre(server+":0", host+":0"))).To(BeNil())
	g.Expect(s.out(gre(host+":0", server+":0"))).NotTo(BeNil())
	g.Expect(s.in(gre(server+":0", host+":0"))).NotTo(BeNil())
	g.Expect(s.in(gre(other+":0", host+":0"))).To(BeNil())
	ping := segment{proto: ICMP, kind: echoRequest, src: server + ":7", dst: host + ":0"}
	g.Expect(s.Inbound(build(ping), s.now)).To(Equal(Verdict{Drop, Firewalled}))
	ping.src, ping.dst = host+":7", server+":0"
	g.Expect(s.out(ping)).NotTo(BeNil())
	g.Expect(s.in(segment{proto: ICMP, kind: echoReply, src: server + ":0", dst: host + ":7"})).NotTo(BeNil())
	g.Expect(s.in(segment{proto: ICMP, kind: echoReply, src: server + ":0", dst: host + ":8"})).To(BeNil())
	g.Expect(s.out(segment{proto: ICMP, kind: echoReply, src: host + ":0", dst: server + ":9"})).NotTo(BeNil())
	g.Expect(s.out(segment{proto: TCP, src: host + ":1", dst: server + ":1", flags: flagRST})).NotTo(BeNil())
	sent := s.out(segment{proto: UDP, src: host + ":5000", dst: server + ":1"})
	g.Expect(s.take(s.Inbound, quoteOf(unreachable, server, host, sent, 8), Pass)).NotTo(BeNil())
	unknown := build(segment{proto: UDP, src: host + ":5001", dst: server + ":1"})
	g.Expect(s.take(s.Inbound, quoteOf(unreachable, server, host, unknown, 8), Pass)).To(BeNil())
	g.Expect(s.take(s.Outbound, quoteOf(unreachable, host, server, unknown, 8), Pass)).NotTo(BeNil())
}

func TestAPlainRouterTouchesNothing(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{}, wan)
	b := build(segment{proto: UDP, src: host + ":5000", dst: server + ":1"})
	was := append([]byte{}, b...)
	g.Expect(s.Outbound(b, s.now)).To(Equal(Verdict{Action: Pass}))
	g.Expect(s.Inbound(b, s.now)).To(Equal(Verdict{Action: Pass}))
	g.Expect(s.Hairpin(b, s.now)).To(Equal(Verdict{Action: Local}))
	g.Expect(b).To(Equal(was))
	g.Expect(s.Mappings(s.now)).To(BeEmpty())
}

func TestAChangeOfTheMappingForgetsEverything(t *testing.T) {
	g := NewWithT(t)
	full, _ := Preset("full-cone")
	s := newSite(t, full, wan)
	mapped := s.udp(host+":5000", server+":1")
	strict, _ := Preset("port-restricted-cone")
	g.Expect(s.SetConfig(strict)).To(Succeed())
	g.Expect(s.admits(other+":1", mapped)).To(BeFalse(), "the filtering holds at once")
	g.Expect(s.admits(server+":1", mapped)).To(BeTrue(), "and the mapping stays")
	symmetric, _ := Preset("symmetric")
	g.Expect(s.SetConfig(symmetric)).To(Succeed())
	g.Expect(s.admits(server+":1", mapped)).To(BeFalse())
	g.Expect(s.Mappings(s.now)).To(BeEmpty())
	g.Expect(s.udp(host+":5000", server+":1")).NotTo(Equal(s.udp(host+":5000", server+":2")))
	s.Clear()
	g.Expect(s.Mappings(s.now)).To(BeEmpty())
	g.Expect(s.SetConfig(Config{Mapping: AddressDependent})).To(MatchError(ContainSubstring("both are needed, or neither")))
	g.Expect(s.Config().Name()).To(Equal("symmetric"), "a bad one changes nothing")
}

func TestLimits(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, MaxMappings: 5, MaxPerHost: 3}, wan)
	try := func(from, to string) Verdict {
		return s.Outbound(build(segment{proto: UDP, src: from, dst: to}), s.now)
	}
	ok := Verdict{Action: Pass}
	for i := range 3 {
		g.Expect(try(fmt.Sprintf("%s:%d", host, 5000+i), server+":1")).To(Equal(ok))
	}
	g.Expect(try(host+":5003", server+":1")).To(Equal(Verdict{Drop, HostFull}))
	g.Expect(HostFull.Refusal()).To(BeTrue())
	g.Expect(try(host+":5000", server+":2")).To(Equal(ok), "what is there goes on")
	g.Expect(try("192.168.1.11:1", server+":1")).To(Equal(ok))
	g.Expect(try("192.168.1.11:2", server+":1")).To(Equal(ok))
	g.Expect(try("192.168.1.12:1", server+":1")).To(Equal(Verdict{Drop, TableFull}))
	s.now = s.now.Add(DefaultUDPTimeout)
	g.Expect(try("192.168.1.12:1", server+":1")).To(Equal(ok), "room comes back")
	g.Expect(s.table.outside).To(HaveLen(1))
}

func TestPeersOfAMappingAreLimited(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent}, wan)
	for i := range maxSessions {
		s.udp(host+":5000", fmt.Sprintf("%s:%d", server, i+1))
	}
	g.Expect(s.Outbound(build(segment{proto: UDP, src: host + ":5000", dst: other + ":1"}), s.now)).To(Equal(Verdict{Drop, TableFull}))
	g.Expect(s.table.sessions).To(Equal(maxSessions))
	s.now = s.now.Add(DefaultUDPTimeout)
	s.udp(host+":5000", other+":1")
	g.Expect(s.table.sessions).To(Equal(1))
}

func TestPortsRunOut(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}, wan)
	for i := range 1023 {
		s.udp(fmt.Sprintf("192.168.%d.%d:53", i/200, i%200+1), server+":1")
	}
	g.Expect(s.Outbound(build(segment{proto: UDP, src: host + ":77", dst: server + ":1"}), s.now)).To(Equal(Verdict{Drop, PortsTaken}))
}

func TestMappingsListWhatThereIs(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: AddressDependent, Filtering: EndpointIndependent}, wan)
	s.udp(host+":5000", server+":1")
	s.udp(host+":5000", server+":2")
	s.out(segment{proto: TCP, src: host + ":5000", dst: other + ":1", flags: flagSYN})
	s.in(segment{proto: TCP, src: server + ":9", dst: wan + ":5000", flags: flagSYN})
	list := s.Mappings(s.now)
	g.Expect(list).To(HaveLen(2))
	g.Expect(list[0].String()).To(Equal("tcp 192.168.1.10:5000 as 203.0.113.1:5000 for 198.51.100.2:0"))
	g.Expect(list[0].Peers).To(Equal([]Peer{
		{netip.MustParseAddrPort(server + ":9"), false, "opening", s.now.Add(DefaultTransitoryTimeout)},
		{netip.MustParseAddrPort(other + ":1"), true, "opening", s.now.Add(DefaultTransitoryTimeout)},
	}))
	g.Expect(list[1]).To(Equal(Mapping{
		Protocol: UDP, Inside: netip.MustParseAddrPort(host + ":5000"), Outside: netip.MustParseAddrPort(wan + ":5000"),
		Peer: netip.MustParseAddrPort(server + ":0"),
		Peers: []Peer{
			{netip.MustParseAddrPort(server + ":1"), true, "", s.now.Add(DefaultUDPTimeout)},
			{netip.MustParseAddrPort(server + ":2"), true, "", s.now.Add(DefaultUDPTimeout)},
		},
		Expires: s.now.Add(DefaultUDPTimeout),
	}))
}

func TestNewReportsEverythingThatIsWrong(t *testing.T) {
	g := NewWithT(t)
	to := netip.MustParseAddrPort(host + ":22")
	_, err := New(Config{
		Filtering: AddressDependent, UDPTimeout: -1, TCPTimeout: -1, MaxPerHost: -1,
		Forwards: []Forward{{ICMP, 1, to}, {TCP, 0, to}, {TCP, 5, to}, {TCP, 5, netip.MustParseAddrPort("[::1]:5")}},
	}, netip.MustParseAddr(wan), rand.New(rand.NewPCG(0, 0)))
	for _, want := range []string{
		"mapping none with filtering address-dependent: both are needed, or neither; without translation use the firewall",
		"forwards without translation",
		"UDP timeout -1ns is negative", "TCP timeout -1ns is negative", "limits of 0 mappings and -1 per host",
		"forward icmp:1:192.168.1.10:22: want tcp or udp",
		"forward tcp:0:192.168.1.10:22: want ports from 1 to 65535 and an IPv4 address",
		"forward tcp:5:[::1]:5: want ports from 1 to 65535 and an IPv4 address",
		"forwards tcp:5:192.168.1.10:22 and tcp:5:[::1]:5 share a port",
		"forwards tcp:0:192.168.1.10:22 and tcp:5:192.168.1.10:22 lead to one endpoint",
	} {
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	_, err = New(Config{Mapping: 7, Filtering: 1}, netip.MustParseAddr(wan), nil)
	g.Expect(err).To(MatchError(ContainSubstring("mapping behavior(7), filtering endpoint-independent: no such behavior")))
	_, err = New(Config{}, netip.MustParseAddr("::1"), rand.New(rand.NewPCG(0, 0)))
	g.Expect(err).To(MatchError("nat: outside address ::1 is not IPv4"))
	_, err = New(Config{}, netip.MustParseAddr(wan), nil)
	g.Expect(err).To(MatchError("nat: no source of random numbers"))
}
