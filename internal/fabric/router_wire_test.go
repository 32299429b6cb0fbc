package fabric

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/nat"
)

// knows asks a router for its MAC, so that the router knows the guest's too.
func (w *wire) knows(router netip.Addr) {
	w.t.Helper()
	w.send(arpRequest(w.host, router))
	arp, ok := parse(w.recv()).Layer(layers.LayerTypeARP).(*layers.ARP)
	NewWithT(w.t).Expect(ok).To(BeTrue())
	NewWithT(w.t).Expect(netip.AddrFrom4([4]byte(arp.SourceProtAddress))).To(Equal(router))
	w.router = net.HardwareAddr(arp.SourceHwAddress)
}

// routed is a packet for the router to forward.
func (w *wire) routed(ip *layers.IPv4, rest ...gopacket.SerializableLayer) []byte {
	ip.Version = 4
	if ip.TTL == 0 {
		ip.TTL = 64
	}
	if ip.Protocol == 0 {
		ip.Protocol = layers.IPProtocolUDP
	}
	if ip.SrcIP == nil {
		ip.SrcIP = w.host.Addr.AsSlice()
	}
	return packet(append([]gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: w.host.MAC, DstMAC: w.router, EthernetType: layers.EthernetTypeIPv4}, ip,
	}, rest...)...)
}

// icmp waits for an ICMP packet with right checksums.
func (w *wire) icmp() *layers.ICMPv4 {
	w.t.Helper()
	_, icmp := w.icmpFrom()
	return icmp
}

func (w *wire) icmpFrom() (*layers.IPv4, *layers.ICMPv4) {
	w.t.Helper()
	g := NewWithT(w.t)
	b := w.recv()
	p := parse(b)
	icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	g.Expect(ok).To(BeTrue(), "%v", p)
	ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	g.Expect(ipChecksum(ip.Contents)).To(BeZero())
	g.Expect(ipChecksum(ip.Payload)).To(BeZero())
	return ip, icmp
}

func udpProbe() *layers.UDP { return &layers.UDP{SrcPort: 33434, DstPort: 33435} }

func TestTracerouteShowsEachRouter(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, func(c *Config) {
		c.Routers = []RouterConfig{
			routerAt(0, "first", "a", 20, "b", 21, nat.Config{}),
			routerAt(1, "second", "b", 21, "c", 22, nat.Config{}),
		}
		c.Routers[0].Outside.Routes = []Route{toAll(addr4(21, 201))}
		c.Routers[1].Inside.Routes = []Route{{To: netip.MustParsePrefix("10.20.0.0/24"), Via: addr4(21, 200)}}
	}, segmentOf("a", 20, "alice"), segmentOf("b", 21), segmentOf("c", 22, "bob"))
	w, b := connect(t, f, "alice", "a"), connect(t, f, "bob", "c")
	w.knows(addr4(20, 200))
	b.knows(addr4(22, 201))
	for ttl, from := range map[uint8]string{1: "10.20.0.200", 2: "10.21.0.201"} {
		w.send(w.routed(&layers.IPv4{DstIP: b.host.Addr.AsSlice(), TTL: ttl}, udpProbe(), gopacket.Payload("probe")))
		ip, icmp := w.icmpFrom()
		g.Expect(ip.SrcIP.String()).To(Equal(from))
		g.Expect(icmp.TypeCode).To(Equal(layers.CreateICMPv4TypeCode(layers.ICMPv4TypeTimeExceeded, 0)))
		g.Expect(string(icmp.Payload[28:])).To(Equal("probe"), "as much as fits is quoted")
	}
	w.send(w.routed(&layers.IPv4{DstIP: b.host.Addr.AsSlice(), TTL: 3}, udpProbe()))
	ip := parse(b.recv()).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	g.Expect(ip.TTL).To(BeEquivalentTo(1))
	g.Expect(ipChecksum(ip.Contents)).To(BeZero())
	g.Expect(ip.SrcIP.String()).To(Equal("10.20.0.11"))
}

func TestARouterAnswersPingOnAllItsAddresses(t *testing.T) {
	for _, name := range []string{"none", "full-cone"} {
		g := NewWithT(t)
		f, r := twoSites(t, preset(t, name), nil)
		inside, outside := connect(t, f, "alice", "home"), connect(t, f, "bob", "wan")
		inside.knows(addr4(20, 200))
		outside.knows(addr4(30, 200))
		ping := func(w *wire, to netip.Addr) []byte {
			return w.routed(&layers.IPv4{Protocol: layers.IPProtocolICMPv4, DstIP: to.AsSlice(), TTL: 1},
				&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 3}, gopacket.Payload("abc"))
		}
		expect := func(w *wire, from netip.Addr) {
			t.Helper()
			ip, icmp := w.icmpFrom()
			g.Expect(ip.SrcIP.String()).To(Equal(from.String()))
			g.Expect(icmp.TypeCode.Type()).To(BeEquivalentTo(layers.ICMPv4TypeEchoReply))
			g.Expect([]uint16{icmp.Id, icmp.Seq}).To(Equal([]uint16{7, 3}))
			g.Expect(string(icmp.Payload)).To(Equal("abc"))
		}
		for _, to := range []netip.Addr{addr4(20, 200), addr4(30, 200)} {
			inside.send(ping(inside, to))
			expect(inside, to)
		}
		outside.send(ping(outside, addr4(30, 200)))
		expect(outside, addr4(30, 200))
		outside.send(ping(outside, addr4(20, 200)))
		if name == "none" {
			expect(outside, addr4(20, 200))
		} else {
			outside.silent() // The inside is hidden.
		}
		cfg := r.NAT()
		cfg.Firewall = nat.DropInbound
		g.Expect(r.SetNAT(cfg)).To(Succeed())
		outside.send(ping(outside, addr4(30, 200)))
		outside.silent()
		inside.send(ping(inside, addr4(30, 200)))
		expect(inside, addr4(30, 200))
	}
}

func TestARouterSaysWhyItDoesNotForward(t *testing.T) {
	f, r := twoSites(t, nat.Config{}, nil)
	w := connect(t, f, "alice", "home")
	w.knows(addr4(20, 200))
	for name, test := range map[string]struct {
		packet []byte
		code   uint8
		count  string
	}{
		"no route":                {w.routed(&layers.IPv4{DstIP: net.IPv4(192, 0, 2, 7).To4()}, udpProbe()), layers.ICMPv4CodeNet, "no route"},
		"the control address":     {w.routed(&layers.IPv4{DstIP: addr4(30, 2).AsSlice()}, udpProbe()), layers.ICMPv4CodeCommAdminProhibited, "prohibited"},
		"a port of the router":    {w.routed(&layers.IPv4{DstIP: addr4(20, 200).AsSlice()}, udpProbe()), layers.ICMPv4CodePort, "for the router itself"},
		"its other side":          {w.routed(&layers.IPv4{DstIP: addr4(30, 200).AsSlice()}, udpProbe()), layers.ICMPv4CodePort, "for the router itself"},
		"a protocol of no use":    {w.routed(&layers.IPv4{DstIP: addr4(20, 200).AsSlice(), Protocol: layers.IPProtocolGRE}, gopacket.Payload("12345678")), layers.ICMPv4CodeProtocol, "for the router itself"},
		"a first fragment, whole": {w.routed(&layers.IPv4{DstIP: net.IPv4(192, 0, 2, 7).To4(), Flags: layers.IPv4MoreFragments}, gopacket.Payload("12345678")), layers.ICMPv4CodeNet, "no route"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w.t = t
			before := r.Counters()
			w.send(test.packet)
			ip, icmp := w.icmpFrom()
			g.Expect(icmp.TypeCode).To(Equal(layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, test.code)))
			g.Expect(ip.SrcIP.String()).To(Equal("10.20.0.200"))
			g.Expect(icmp.Payload).To(BeEquivalentTo(test.packet[headerLen:headerLen+28]), "what was sent, without padding")
			after := r.Counters()
			g.Expect(after.Dropped[test.count]).To(Equal(before.Dropped[test.count] + 1))
			g.Expect(after.Errors).To(Equal(before.Errors + 1))
			g.Expect(after.Forwarded).To(Equal(before.Forwarded))
		})
	}
}

func TestARouterIsSilentWhereItMustBe(t *testing.T) {
	f, r := twoSites(t, nat.Config{}, nil)
	w, b := connect(t, f, "alice", "home"), connect(t, f, "bob", "wan")
	w.knows(addr4(20, 200))
	b.knows(addr4(30, 200))
	nowhere, bob := net.IPv4(192, 0, 2, 7).To4(), net.IP(addr4(30, 11).AsSlice())
	to := func(ip *layers.IPv4) []byte { return w.routed(ip, udpProbe()) }
	broken := to(&layers.IPv4{DstIP: bob})
	broken[headerLen+8]++
	toAll := to(&layers.IPv4{DstIP: bob})
	copy(toAll, broadcast.bytes())
	for name, test := range map[string]struct {
		packet []byte
		count  string
	}{
		"an ICMP error":         {w.routed(&layers.IPv4{DstIP: nowhere, Protocol: layers.IPProtocolICMPv4}, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, gopacket.Payload(make([]byte, 28))), "no route"},
		"a later fragment":      {to(&layers.IPv4{DstIP: nowhere, FragOffset: 3}), "no route"},
		"multicast":             {to(&layers.IPv4{DstIP: net.IPv4(224, 0, 0, 251).To4()}), "broadcast or multicast"},
		"a directed broadcast":  {to(&layers.IPv4{DstIP: net.IP(addr4(30, 255).AsSlice())}), "broadcast or multicast"},
		"everyone":              {to(&layers.IPv4{DstIP: net.IPv4bcast.To4()}), "broadcast or multicast"},
		"a broadcast frame":     {toAll, "broadcast or multicast"},
		"no source":             {to(&layers.IPv4{SrcIP: net.IPv4zero.To4(), DstIP: bob}), "impossible source"},
		"a loopback source":     {to(&layers.IPv4{SrcIP: net.IPv4(127, 0, 0, 1).To4(), DstIP: bob}), "impossible source"},
		"a loopback target":     {to(&layers.IPv4{DstIP: net.IPv4(127, 0, 0, 1).To4()}), "impossible source"},
		"the router as source":  {to(&layers.IPv4{SrcIP: net.IP(addr4(30, 200).AsSlice()), DstIP: bob}), "impossible source"},
		"a wrong checksum":      {broken, "malformed"},
		"a cut header":          {broken[:headerLen+12], "malformed"},
		"an answer to no one":   {w.routed(&layers.IPv4{DstIP: net.IP(addr4(20, 200).AsSlice()), Protocol: layers.IPProtocolICMPv4}, &layers.ICMPv4{}), "for the router itself"},
		"nothing but ARP's tag": {ether(macOf(w.router), w.mac(), 0x0806, "too short"), ""},
		"another protocol":      {ether(macOf(w.router), w.mac(), testType, "hello"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w.t, b.t = t, t
			before := r.Counters()
			w.send(test.packet)
			w.silent()
			after := r.Counters()
			g.Expect(after.Errors).To(Equal(before.Errors))
			if test.count != "" {
				g.Expect(after.Dropped[test.count]).To(Equal(before.Dropped[test.count] + 1))
			}
		})
	}
	b.silent()
}

func TestARoutersErrorsAreRateLimited(t *testing.T) {
	g := NewWithT(t)
	clock := new(testClock)
	clock.advance(time.Hour)
	f, r := twoSites(t, nat.Config{}, func(c *Config) { c.Clock = clock.now })
	w := connect(t, f, "alice", "home")
	w.knows(addr4(20, 200))
	for range icmpBurst + 50 {
		w.send(w.routed(&layers.IPv4{DstIP: net.IPv4(192, 0, 2, 7).To4()}, udpProbe()))
	}
	for range icmpBurst {
		w.icmp()
	}
	w.silent()
	g.Expect(r.Counters().Dropped).To(HaveKeyWithValue("ICMP error not sent: rate limit", uint64(50)))
}

func TestARouterAnswersARPForItself(t *testing.T) {
	g := NewWithT(t)
	f, _ := twoSites(t, nat.Config{}, nil)
	w := connect(t, f, "alice", "home")
	w.knows(addr4(20, 200))
	w.send(arpRequest(w.host, addr4(30, 200)), arpRequest(w.host, addr4(20, 99)))
	w.silent()
	probe := w.host
	probe.Addr = netip.IPv4Unspecified()
	w.send(arpRequest(probe, addr4(20, 200)))
	g.Expect(parse(w.recv()).Layer(layers.LayerTypeARP)).NotTo(BeNil(), "the address is taken")
}

func TestAMACThatMovesIsFollowed(t *testing.T) {
	g := NewWithT(t)
	f, _ := twoSites(t, nat.Config{}, nil)
	w, b := connect(t, f, "alice", "home"), connect(t, f, "bob", "wan")
	w.knows(addr4(20, 200))
	b.knows(addr4(30, 200))
	send := func() { w.send(w.routed(&layers.IPv4{DstIP: b.host.Addr.AsSlice()}, udpProbe())) }
	send()
	g.Expect(parse(b.recv()).LinkLayer().LinkFlow().Dst().Raw()).To(BeEquivalentTo(b.host.MAC))
	moved := b.host
	moved.MAC = net.HardwareAddr{6, 9, 9, 9, 9, 9}
	b.send(arpRequest(moved, b.host.Addr)) // Gratuitous: about itself.
	b.silent()
	send()
	g.Expect(parse(b.recv()).LinkLayer().LinkFlow().Dst().Raw()).To(BeEquivalentTo(moved.MAC))
}

// FuzzRouter feeds a router any frames, with each type of NAT: it must not panic, nor send what is malformed.
func FuzzRouter(f *testing.F) {
	home, wan := segmentOf("home", 20, "alice"), segmentOf("wan", 30, "bob")
	wan.MTU = 576
	fab := newFabric(f, func(c *Config) {
		c.Routers = []RouterConfig{routerAt(0, "gw", "home", 20, "wan", 30, preset(f, "full-cone"))}
		c.Routers[0].Outside.Addr6 = []netip.Prefix{netip.MustParsePrefix("2001:db8:1::1/64")}
	}, home, wan)
	r := fab.routers[0]
	w := &wire{t: f, host: home.Hosts[0], router: net.HardwareAddr(r.ports[0].mac.bytes())}
	for _, b := range [][]byte{
		w.routed(&layers.IPv4{DstIP: addr4(30, 11).AsSlice()}, udpProbe()),
		w.routed(&layers.IPv4{DstIP: addr4(30, 11).AsSlice()}, gopacket.Payload(make([]byte, 1400))),
		w.routed(&layers.IPv4{DstIP: addr4(30, 200).AsSlice(), Protocol: layers.IPProtocolICMPv4}, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}),
		w.routed(&layers.IPv4{DstIP: addr4(30, 11).AsSlice(), TTL: 1}, udpProbe()),
		arpRequest(w.host, addr4(20, 200)),
		ether(macOf(w.router), w.mac(), etherIPv6, string(make([]byte, 60))),
	} {
		f.Add(uint8(0), b)
		f.Add(uint8(1), b)
	}
	f.Fuzz(func(t *testing.T, side uint8, b []byte) {
		if len(b) < headerLen || len(b) > maxFrame {
			return
		}
		fr := r.pool.get(len(b))
		copy(fr.bytes(), b)
		out := r.newOutbox()
		r.ports[side%2].handleAll([]*frame{fr}, out)
		r.release(fr)
		for _, frames := range out.frames {
			for _, sent := range frames {
				ip := sent.bytes()[headerLen:]
				if sent.etherType() == etherIPv4 && (ipChecksum(ip[:int(ip[0]&15)*4]) != 0 || len(ip) > 1500) {
					t.Fatalf("sent % x", sent.bytes())
				}
			}
			r.pool.release(frames)
		}
	})
}
