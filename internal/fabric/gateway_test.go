package fabric

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
)

// packet serializes layers with right lengths and checksums.
func packet(all ...gopacket.SerializableLayer) []byte {
	var network gopacket.NetworkLayer
	for _, l := range all {
		switch l := l.(type) {
		case *layers.IPv4:
			network = l
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(network)
		case *layers.UDP:
			_ = l.SetNetworkLayerForChecksum(network)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func parse(frame []byte) gopacket.Packet {
	return gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
}

func arpRequest(from Host, target netip.Addr) []byte {
	return packet(
		&layers.Ethernet{SrcMAC: from.MAC, DstMAC: net.HardwareAddr(broadcast.bytes()), EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: from.MAC, SourceProtAddress: from.Addr.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice(),
		})
}

func gatewayMAC(network string) net.HardwareAddr {
	return net.HardwareAddr(macFor(network, gatewayRole).bytes())
}

func TestGatewayAnswersARPForItselfOnly(t *testing.T) {
	g := NewWithT(t)
	for _, internet := range []bool{false, true} {
		network := lan(2)
		network.Internet = internet
		f := newFabric(t, func(c *Config) { c.Dialer = &net.Dialer{} }, network)
		a := connect(t, f, "a", "lan")
		a.send(arpRequest(a.host, addr4(20, 1)))
		arp := parse(a.recv()).Layer(layers.LayerTypeARP).(*layers.ARP)
		g.Expect(arp.Operation).To(BeEquivalentTo(layers.ARPReply))
		g.Expect(net.HardwareAddr(arp.SourceHwAddress)).To(Equal(gatewayMAC("lan")))
		g.Expect(arp.SourceHwAddress[0]&3).To(BeEquivalentTo(2), "locally administered, unicast")
		g.Expect(gatewayMAC("lan").String()).NotTo(Equal(macFor("lan", controlRole).String()))

		a.send(arpRequest(a.host, addr4(20, 12)), arpRequest(a.host, addr4(20, 99)), arpRequest(a.host, addr4(21, 1)))
		a.silent()
	}
}

func TestGatewayAnswersPing(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	a := connect(t, f, "a", "lan")
	a.introduce()
	a.send(a.ip(addr4(20, 1), layers.IPProtocolICMPv4,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 1},
		gopacket.Payload("ping")))
	reply := parse(a.recv())
	icmp := reply.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	g.Expect(icmp.TypeCode.Type()).To(BeEquivalentTo(layers.ICMPv4TypeEchoReply))
	g.Expect(icmp.Id).To(BeEquivalentTo(7))
	g.Expect(icmp.Payload).To(BeEquivalentTo("ping"))
}

// introduce answers the gateway's ARP question before it is asked.
func (w *wire) introduce() {
	w.t.Helper()
	w.send(arpRequest(w.host, addr4(20, 1)))
	w.recv()
}

// ip makes a frame for the gateway's MAC.
func (w *wire) ip(dst netip.Addr, proto layers.IPProtocol, rest ...gopacket.SerializableLayer) []byte {
	return w.ipPacket(&layers.IPv4{Version: 4, TTL: 64, Protocol: proto, Id: 99, SrcIP: w.host.Addr.AsSlice(), DstIP: dst.AsSlice()}, rest...)
}

func (w *wire) ipPacket(ip *layers.IPv4, rest ...gopacket.SerializableLayer) []byte {
	eth := &layers.Ethernet{SrcMAC: w.host.MAC, DstMAC: gatewayMAC("lan"), EthernetType: layers.EthernetTypeIPv4}
	return packet(append([]gopacket.SerializableLayer{eth, ip}, rest...)...)
}

var outside = netip.MustParseAddr("192.0.2.7")

func TestHermeticNetworksSayNoAtOnce(t *testing.T) {
	f := newFabric(t, nil, lan(1), subnet("wan", 30, 1))
	a := connect(t, f, "a", "lan")
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1}
	for name, frame := range map[string][]byte{
		"TCP":                     a.ip(outside, layers.IPProtocolTCP, &layers.TCP{SrcPort: 1000, DstPort: 80, SYN: true, Seq: 77}, gopacket.Payload("some data")),
		"UDP":                     a.ip(outside, layers.IPProtocolUDP, &layers.UDP{SrcPort: 1000, DstPort: 53}, gopacket.Payload("question")),
		"ping":                    a.ip(outside, layers.IPProtocolICMPv4, icmp),
		"short payload":           a.ip(outside, layers.IPProtocol(253), gopacket.Payload("xy")),
		"another network":         a.ip(addr4(30, 11), layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 22, SYN: true}),
		"another network gateway": a.ip(addr4(30, 1), layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 22, SYN: true}),
		"the same network":        a.ip(addr4(20, 50), layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 22, SYN: true}),
		"loopback":                a.ip(netip.MustParseAddr("127.0.0.1"), layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 22, SYN: true}),
		"header options": a.ipPacket(&layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: a.host.Addr.AsSlice(), DstIP: outside.AsSlice(),
			Options: []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}},
		}, &layers.UDP{SrcPort: 1000, DstPort: 53}, gopacket.Payload("question")),
		"first fragment": a.ipPacket(&layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: a.host.Addr.AsSlice(), DstIP: outside.AsSlice(), Flags: layers.IPv4MoreFragments,
		}, gopacket.Payload("fragment of something")),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a.t = t
			a.send(frame)
			reply := parse(a.recv())
			eth := reply.LinkLayer().(*layers.Ethernet)
			g.Expect(eth.SrcMAC).To(Equal(gatewayMAC("lan")))
			g.Expect(eth.DstMAC).To(Equal(a.host.MAC))
			ip := reply.NetworkLayer().(*layers.IPv4)
			g.Expect(ip.SrcIP.String()).To(Equal("10.20.0.1"))
			g.Expect(ip.DstIP.String()).To(Equal("10.20.0.11"))
			answer := reply.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			g.Expect(answer.TypeCode).To(Equal(layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, 13)))
			original := frame[headerLen : headerLen+int(frame[headerLen+2])<<8+int(frame[headerLen+3])] // Without padding.
			quoted := min(len(original), int(original[0]&15)*4+8)
			g.Expect(answer.Payload).To(Equal(original[:quoted]))
			g.Expect(ipChecksum(reply.Layer(layers.LayerTypeIPv4).LayerContents())).To(BeZero())
			g.Expect(ipChecksum(append(append([]byte{}, answer.Contents...), answer.Payload...))).To(BeZero())
		})
	}
}

// ipChecksum is 0 over what carries its right Internet checksum (RFC 1071).
func ipChecksum(b []byte) uint16 {
	if len(b)%2 == 1 {
		b = append(b[:len(b):len(b)], 0)
	}
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func TestSomePacketsGetNoICMPError(t *testing.T) {
	f := newFabric(t, nil, lan(1))
	a := connect(t, f, "a", "lan")
	udp := func(ip *layers.IPv4) []byte {
		ip.Version, ip.TTL, ip.Protocol = 4, 64, layers.IPProtocolUDP
		return a.ipPacket(ip, &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("data"))
	}
	own := net.IP(a.host.Addr.AsSlice())
	broken := udp(&layers.IPv4{SrcIP: own, DstIP: outside.AsSlice()})
	broken[headerLen+8]++ // The TTL no longer matches the checksum.
	toAll := udp(&layers.IPv4{SrcIP: own, DstIP: outside.AsSlice()})
	copy(toAll, broadcast.bytes())
	for name, frame := range map[string][]byte{
		"an ICMP error": a.ip(outside, layers.IPProtocolICMPv4,
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, 3)}, gopacket.Payload("0123456789012345678901234567")),
		"an empty ICMP packet": a.ip(outside, layers.IPProtocolICMPv4),
		"a later fragment":     udp(&layers.IPv4{SrcIP: own, DstIP: outside.AsSlice(), FragOffset: 10}),
		"multicast":            udp(&layers.IPv4{SrcIP: own, DstIP: net.IPv4(224, 0, 0, 251).To4()}),
		"limited broadcast":    udp(&layers.IPv4{SrcIP: own, DstIP: net.IPv4bcast.To4()}),
		"directed broadcast":   udp(&layers.IPv4{SrcIP: own, DstIP: net.IPv4(10, 20, 0, 255).To4()}),
		"no source":            udp(&layers.IPv4{SrcIP: net.IPv4zero.To4(), DstIP: outside.AsSlice()}),
		"a foreign source":     udp(&layers.IPv4{SrcIP: net.IPv4(8, 8, 8, 8).To4(), DstIP: outside.AsSlice()}),
		"a broadcast source":   udp(&layers.IPv4{SrcIP: net.IPv4(10, 20, 0, 255).To4(), DstIP: outside.AsSlice()}),
		"a wrong checksum":     broken,
		"a broadcast frame":    toAll,
		"a cut header":         broken[:headerLen+12],
		"a router solicitation": packet(
			&layers.Ethernet{SrcMAC: a.host.MAC, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv6},
			&layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fe80::1"), DstIP: net.ParseIP("ff02::2")},
			gopacket.Payload([]byte{133, 0, 0, 0, 0, 0, 0, 0})),
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			a.send(frame)
			a.silent()
		})
	}
}

func TestICMPErrorsAreRateLimited(t *testing.T) {
	g := NewWithT(t)
	clock := new(testClock)
	clock.advance(time.Hour)
	f := newFabric(t, func(c *Config) { c.Clock = clock.now }, lan(1))
	a := connect(t, f, "a", "lan")
	frame := a.ip(outside, layers.IPProtocolUDP, &layers.UDP{SrcPort: 1000, DstPort: 53})
	for range icmpBurst + 50 {
		a.send(frame)
	}
	for range icmpBurst {
		a.recv()
	}
	a.silent()
	clock.advance(time.Second)
	a.send(frame)
	g.Expect(parse(a.recv()).Layer(layers.LayerTypeICMPv4)).NotTo(BeNil())
}

func TestAGuestSeesTheRefusalAtOnce(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	a := boot(t, f, "a", "lan")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := a.dial(ctx, "192.0.2.7:80")
	g.Expect(err).To(HaveOccurred())
	g.Expect(ctx.Err()).NotTo(HaveOccurred())
}

// FuzzGateway feeds the gateway frames that its stack never sees.
func FuzzGateway(f *testing.F) {
	network := lan(1)
	fab := newFabric(f, nil, network)
	n, _ := fab.Network("lan")
	a := &wire{t: f, host: network.Hosts[0]}
	f.Add(a.ip(outside, layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 2, SYN: true}))
	f.Add(a.ip(outside, layers.IPProtocolICMPv4, &layers.ICMPv4{}))
	f.Add(a.ip(addr4(20, 1), layers.IPProtocolUDP, &layers.UDP{SrcPort: 68, DstPort: 67}, gopacket.Payload(make([]byte, 300))))
	f.Add(arpRequest(a.host, addr4(20, 1)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) < headerLen || len(b) > maxFrame {
			return
		}
		fr := n.sw.pool.get(len(b))
		copy(fr.bytes(), b)
		n.gateway.wants(fr)
		n.controlPath.fromGuest(fr)
		n.sw.pool.release([]*frame{fr})
	})
}
