package fabric

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/nat"
)

// sixSites is twoSites with IPv6 addresses on the router, 2001:db8:20::1 and 2001:db8:30::1, and a static route.
func sixSites(t testing.TB) (*Fabric, *Router) {
	return twoSites(t, preset(t, "symmetric"), func(c *Config) {
		c.Networks[1].MTU = 1400
		c.Routers[0].Inside.Addr6 = []netip.Prefix{netip.MustParsePrefix("2001:db8:20::1/64")}
		c.Routers[0].Outside.Addr6 = []netip.Prefix{netip.MustParsePrefix("2001:db8:30::1/64")}
		c.Routers[0].Outside.Routes = []Route{{To: netip.MustParsePrefix("2001:db8:40::/64"), Via: netip.MustParseAddr("2001:db8:30::99")}}
	})
}

func multicast(group string) net.HardwareAddr {
	return net.HardwareAddr(multicastMAC(netip.MustParseAddr(group)).bytes())
}

// ipv6 is a frame with an IPv6 packet.
func (w *wire) ipv6(to net.HardwareAddr, ip *layers.IPv6, rest ...gopacket.SerializableLayer) []byte {
	ip.Version = 6
	if ip.HopLimit == 0 {
		ip.HopLimit = 64
	}
	for _, l := range rest {
		if icmp, ok := l.(*layers.ICMPv6); ok {
			ip.NextHeader = layers.IPProtocolICMPv6
			_ = icmp.SetNetworkLayerForChecksum(ip)
		}
	}
	return packet(append([]gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: w.host.MAC, DstMAC: to, EthernetType: layers.EthernetTypeIPv6}, ip,
	}, rest...)...)
}

// solicit asks for the router's MAC.
func (w *wire) solicit(from, target string) []byte {
	t := net.ParseIP(target)
	group := net.ParseIP("ff02::1:ff00:0")
	copy(group[13:], t[13:])
	ns := &layers.ICMPv6NeighborSolicitation{TargetAddress: t}
	if from != "::" {
		ns.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: w.host.MAC}}
	}
	return w.ipv6(multicast(group.String()), &layers.IPv6{SrcIP: net.ParseIP(from), DstIP: group, HopLimit: 255},
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}, ns)
}

// recv6 waits for an ICMPv6 message and checks its sum.
func (w *wire) recv6() (*layers.Ethernet, *layers.IPv6, *layers.ICMPv6) {
	w.t.Helper()
	g := NewWithT(w.t)
	p := parse(w.recv())
	icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	g.Expect(ok).To(BeTrue(), "%v", p)
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	src, _ := netip.AddrFromSlice(ip.SrcIP)
	dst, _ := netip.AddrFromSlice(ip.DstIP)
	g.Expect(sum6(src, dst, ip.Payload[:ip.Length])).To(BeEquivalentTo(0xffff))
	return p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), ip, icmp
}

func TestIPv6IsForwardedWithoutNAT(t *testing.T) {
	g := NewWithT(t)
	f, r := sixSites(t)
	w, b := connect(t, f, "alice", "home"), connect(t, f, "bob", "wan")
	w.send(w.solicit("2001:db8:20::11", "2001:db8:20::1"))
	eth, ip, icmp := w.recv6()
	g.Expect(icmp.TypeCode.Type()).To(BeEquivalentTo(layers.ICMPv6TypeNeighborAdvertisement))
	g.Expect(ip.HopLimit).To(BeEquivalentTo(255))
	g.Expect(ip.SrcIP.String()).To(Equal("2001:db8:20::1"))
	g.Expect([]byte(icmp.Payload[len(icmp.Payload)-6:])).To(Equal([]byte(eth.SrcMAC)), "the target's MAC")
	w.router = eth.SrcMAC

	w.send(w.ipv6(w.router, &layers.IPv6{SrcIP: net.ParseIP("2001:db8:20::11"), DstIP: net.ParseIP("2001:db8:30::11"), NextHeader: layers.IPProtocolNoNextHeader}, gopacket.Payload("over")))
	_, ip, icmp = b.recv6()
	g.Expect(icmp.TypeCode.Type()).To(BeEquivalentTo(layers.ICMPv6TypeNeighborSolicitation), "the router looks for its neighbour")
	g.Expect(ip.DstIP.String()).To(Equal("ff02::1:ff00:11"))
	g.Expect(ip.SrcIP.String()).To(Equal("2001:db8:30::1"))
	b.router = net.HardwareAddr(r.ports[1].mac.bytes())
	b.send(b.ipv6(b.router, &layers.IPv6{SrcIP: net.ParseIP("2001:db8:30::11"), DstIP: ip.SrcIP, HopLimit: 255},
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)},
		&layers.ICMPv6NeighborAdvertisement{
			Flags: 0x60, TargetAddress: net.ParseIP("2001:db8:30::11"),
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: b.host.MAC}},
		}))
	ip = parse(b.recv()).Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	g.Expect(ip.HopLimit).To(BeEquivalentTo(63))
	g.Expect(ip.SrcIP.String()).To(Equal("2001:db8:20::11"))
	g.Expect(string(ip.Payload[:4])).To(Equal("over"))

	// Back, to a neighbour that is known by its question.
	b.send(b.ipv6(b.router, &layers.IPv6{SrcIP: net.ParseIP("2001:db8:30::11"), DstIP: net.ParseIP("2001:db8:20::11"), NextHeader: layers.IPProtocolNoNextHeader}))
	g.Expect(parse(w.recv()).Layer(layers.LayerTypeIPv6).(*layers.IPv6).SrcIP.String()).To(Equal("2001:db8:30::11"))
}

func TestIPv6ErrorsAndAnswers(t *testing.T) {
	f, r := sixSites(t)
	w := connect(t, f, "alice", "home")
	w.router = net.HardwareAddr(r.ports[0].mac.bytes())
	src, bob := net.ParseIP("2001:db8:20::11"), net.ParseIP("2001:db8:30::11")
	ping := func(to string) []byte {
		return w.ipv6(w.router, &layers.IPv6{SrcIP: src, DstIP: net.ParseIP(to)},
			&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}, &layers.ICMPv6Echo{Identifier: 7}, gopacket.Payload("abc"))
	}
	for name, test := range map[string]struct {
		packet []byte
		want   layers.ICMPv6TypeCode
		from   string
	}{
		"ping":            {ping("2001:db8:20::1"), layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0), "2001:db8:20::1"},
		"ping, far side":  {ping("2001:db8:30::1"), layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0), "2001:db8:30::1"},
		"ping link-local": {ping(linkLocal(r.ports[0].mac).String()), layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0), linkLocal(r.ports[0].mac).String()},
		"no route":        {ping("2001:db8:99::1"), layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, 0), "2001:db8:20::1"},
		"hop limit":       {w.ipv6(w.router, &layers.IPv6{SrcIP: src, DstIP: bob, HopLimit: 1, NextHeader: layers.IPProtocolNoNextHeader}), layers.CreateICMPv6TypeCode(layers.ICMPv6TypeTimeExceeded, 0), "2001:db8:20::1"},
		"too big":         {w.ipv6(w.router, &layers.IPv6{SrcIP: src, DstIP: bob, NextHeader: layers.IPProtocolNoNextHeader}, gopacket.Payload(make([]byte, 1400))), layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0), "2001:db8:20::1"},
		"a port":          {w.ipv6(w.router, &layers.IPv6{SrcIP: src, DstIP: net.ParseIP("2001:db8:20::1"), NextHeader: layers.IPProtocolUDP}, gopacket.Payload("12345678")), layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, 4), "2001:db8:20::1"},
		"is it taken?":    {w.solicit("::", "2001:db8:20::1"), layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0), "2001:db8:20::1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w.t = t
			w.send(test.packet)
			_, ip, icmp := w.recv6()
			g.Expect(icmp.TypeCode).To(Equal(test.want))
			g.Expect(ip.SrcIP.String()).To(Equal(test.from))
			if name == "too big" {
				g.Expect(icmp.Payload[:4]).To(BeEquivalentTo([]byte{0, 0, 1400 >> 8, 1400 & 0xff}))
				g.Expect(int(ip.Length) + 40).To(Equal(quotedMost6))
			}
		})
	}
}

func TestIPv6SilenceAndAbsentNeighbours(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f, r := sixSites(t)
	w, b := connect(t, f, "alice", "home"), connect(t, f, "bob", "wan")
	w.router = net.HardwareAddr(r.ports[0].mac.bytes())
	src := net.ParseIP("2001:db8:20::11")
	plain := func(from, to string) []byte {
		return w.ipv6(w.router, &layers.IPv6{SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to), NextHeader: layers.IPProtocolNoNextHeader})
	}
	w.send(
		plain("fe80::1", "2001:db8:30::11"), plain("2001:db8:20::11", "fe80::77"), plain("::", "2001:db8:30::11"), plain("ff02::1", "2001:db8:30::11"),
		w.solicit("2001:db8:20::11", "2001:db8:20::77"),
		w.ipv6(w.router, &layers.IPv6{SrcIP: src, DstIP: net.ParseIP("2001:db8:99::1")},
			&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, 0)}, gopacket.Payload(make([]byte, 44))),
		plain("2001:db8:20::11", "2001:db8:30::11")[:30],
	)
	w.silent()
	b.silent()
	w.send(plain("2001:db8:20::11", "2001:db8:40::5"))
	_, ip, _ := b.recv6()
	g.Expect(ip.DstIP.String()).To(Equal("ff02::1:ff00:99"), "the static route's next hop")
	_, ip, icmp := w.recv6()
	g.Expect(icmp.TypeCode).To(Equal(layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, layers.ICMPv6CodeAddressUnreachable)))
	g.Expect(ip.DstIP.String()).To(Equal(src.String()))
	g.Expect(r.Counters().Dropped).To(HaveKeyWithValue("no neighbour", uint64(1)))
}

func TestRoutersAreValidated(t *testing.T) {
	g := NewWithT(t)
	home, wan := segmentOf("home", 20, "alice"), segmentOf("wan", 30, "bob")
	good := routerAt(0, "gw", "home", 20, "wan", 30, nat.Config{})
	one, both, lost, twin, taken := good, good, good, good, good
	one.Name = "alice"
	one.NAT = nat.Config{Mapping: nat.AddressDependent}
	both.Name, both.Outside.Network = "both", "home"
	lost.Name, lost.Outside.Network = "lost", "moon"
	twin.Name = "twin"
	taken.Name = "taken"
	taken.Inside.Addr, taken.Inside.MAC = home.Hosts[0].Addr, home.Hosts[0].MAC
	taken.Outside.Addr, taken.Outside.MAC = wan.Gateway, net.HardwareAddr{1, 2}
	taken.Inside.Routes = []Route{{To: netip.MustParsePrefix("10.9.0.0/16"), Via: addr4(99, 1)}, {}}
	taken.Inside.Addr6 = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	taken.Inside.Conditions.Egress.LossPercent = 101
	_, err := New(Config{Dir: t.TempDir(), Networks: []NetworkConfig{home, wan}, Routers: []RouterConfig{good, good, one, both, lost, twin, taken}})
	for _, want := range []string{
		`router "gw": the name is empty or taken`,
		`router "alice": the name is empty or taken`,
		`router "alice": nat: mapping address-dependent with filtering none`,
		`router "both": both sides are on network "home"`,
		`router "lost": no network "moon"`,
		`router "twin": on network "home": router "lost" has 10.20.0.200 too`,
		`router "taken": on network "home": node "alice" has address 10.20.0.11 too`,
		`router "taken": on network "home": node "alice" has MAC 06:00:00:14:00:0b too`,
		`router "taken": on network "wan": address 10.30.0.1 is the fabric's own`,
		`router "taken": on network "wan": MAC "01:02", want six bytes of a unicast address`,
		`router "taken": on network "home": route to 10.9.0.0/16 via 10.99.0.1, which is not in 10.20.0.0/24`,
		`router "taken": on network "home": route to invalid Prefix via invalid IP, want a subnet and another router's address`,
		`router "taken": on network "home": IPv6 address 10.0.0.0/8, want a unicast address`,
		`router "taken": on network "home": egress: `,
	} {
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	f := newFabric(t, func(c *Config) { c.Routers = []RouterConfig{good} }, home, wan)
	g.Expect(f.Routers()).To(HaveLen(1))
	_, err = f.Router("moon")
	g.Expect(err).To(MatchError(`no router "moon"; there are: gw`))
	_, err = newFabric(t, nil, home).Router("gw")
	g.Expect(err).To(MatchError(`no router "gw": there are no routers`))
}
