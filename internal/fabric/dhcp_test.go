package fabric

import (
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/insomniacslk/dhcp/dhcpv4"
	. "github.com/onsi/gomega"
)

// askDHCP sends a message as a client without an address does, and returns the answer's frame.
func (w *wire) dhcpFrame(m *dhcpv4.DHCPv4) []byte {
	udp := &layers.UDP{SrcPort: 68, DstPort: 67}
	return packet(
		&layers.Ethernet{SrcMAC: w.host.MAC, DstMAC: net.HardwareAddr(broadcast.bytes()), EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4zero.To4(), DstIP: net.IPv4bcast.To4()},
		udp, gopacket.Payload(m.ToBytes()))
}

func dhcpOf(g *WithT, frame []byte) (*layers.Ethernet, *layers.IPv4, *dhcpv4.DHCPv4) {
	p := parse(frame)
	udp, ok := p.TransportLayer().(*layers.UDP)
	g.Expect(ok).To(BeTrue(), "%s", p)
	g.Expect(udp.SrcPort).To(BeEquivalentTo(67))
	g.Expect(udp.DstPort).To(BeEquivalentTo(68))
	_, wrong := p.VerifyChecksums()
	g.Expect(wrong).To(BeEmpty())
	m, err := dhcpv4.FromBytes(udp.Payload)
	g.Expect(err).NotTo(HaveOccurred())
	return p.LinkLayer().(*layers.Ethernet), p.NetworkLayer().(*layers.IPv4), m
}

func TestDHCPGivesEachNodeItsAddress(t *testing.T) {
	g := NewWithT(t)
	network := lan(2)
	network.MTU = 1400
	f := newFabric(t, nil, network)
	b := connect(t, f, "b", "lan")

	discover, err := dhcpv4.NewDiscovery(b.host.MAC)
	g.Expect(err).NotTo(HaveOccurred())
	b.send(b.dhcpFrame(discover))
	eth, ip, offer := dhcpOf(g, b.recv())
	g.Expect(eth.DstMAC).To(Equal(b.host.MAC))
	g.Expect(ip.DstIP.String()).To(Equal("10.20.0.12"))
	g.Expect(offer.MessageType()).To(Equal(dhcpv4.MessageTypeOffer))
	g.Expect(offer.YourIPAddr.String()).To(Equal("10.20.0.12"))

	request, err := dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithBroadcast(true))
	g.Expect(err).NotTo(HaveOccurred())
	b.send(b.dhcpFrame(request))
	eth, ip, ack := dhcpOf(g, b.recv())
	g.Expect(macOf(eth.DstMAC)).To(Equal(broadcast), "the client asked for a broadcast")
	g.Expect(ip.DstIP.String()).To(Equal("255.255.255.255"))
	g.Expect(ack.MessageType()).To(Equal(dhcpv4.MessageTypeAck))
	g.Expect(ack.TransactionID).To(Equal(request.TransactionID))
	g.Expect(ack.YourIPAddr.String()).To(Equal("10.20.0.12"))
	g.Expect(ack.ServerIdentifier().String()).To(Equal("10.20.0.1"))
	g.Expect(ack.SubnetMask().String()).To(Equal("ffffff00"))
	g.Expect(ack.BroadcastAddress().String()).To(Equal("10.20.0.255"))
	g.Expect(ack.Router()).To(HaveLen(1))
	g.Expect(ack.Router()[0].String()).To(Equal("10.20.0.1"))
	g.Expect(ack.DNS()[0].String()).To(Equal("10.20.0.1"))
	g.Expect(ack.DomainName()).To(Equal("lab"))
	g.Expect(ack.DomainSearch().Labels).To(Equal([]string{"lab"}))
	g.Expect(ack.HostName()).To(Equal("b"))
	g.Expect(ack.IPAddressLeaseTime(0)).To(BeNumerically(">=", 24*time.Hour))
	g.Expect(ack.Options.Get(dhcpv4.OptionInterfaceMTU)).To(Equal([]byte{1400 >> 8, 1400 & 0xff}))
}

func TestDHCPAnswers(t *testing.T) {
	network := lan(2)
	l := newLeases(network)
	a := network.Hosts[0]
	message := func(kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) []byte {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(a.MAC), dhcpv4.WithMessageType(kind)}, mods...)...)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return m.ToBytes()
	}
	ip := func(s string) net.IP { return net.ParseIP(s).To4() }
	wants := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip(s))) }
	from := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(s))) }
	for _, test := range []struct {
		name    string
		message []byte
		kind    dhcpv4.MessageType
		to      string
	}{
		{"rebooting", message(dhcpv4.MessageTypeRequest, wants("10.20.0.11")), dhcpv4.MessageTypeAck, "10.20.0.11"},
		{"renewing", message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(ip("10.20.0.11"))), dhcpv4.MessageTypeAck, "10.20.0.11"},
		{"wrong address", message(dhcpv4.MessageTypeRequest, wants("10.20.0.12")), dhcpv4.MessageTypeNak, "255.255.255.255"},
		{"no address", message(dhcpv4.MessageTypeRequest), dhcpv4.MessageTypeNak, "255.255.255.255"},
		{"chose us", message(dhcpv4.MessageTypeRequest, wants("10.20.0.11"), from("10.20.0.1")), dhcpv4.MessageTypeAck, "10.20.0.11"},
		{"chose another", message(dhcpv4.MessageTypeRequest, wants("10.20.0.11"), from("10.20.0.9")), 0, ""},
		{"inform", message(dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(ip("10.20.0.11"))), dhcpv4.MessageTypeAck, "10.20.0.11"},
		{"release", message(dhcpv4.MessageTypeRelease), 0, ""},
		{"through a relay", message(dhcpv4.MessageTypeDiscover, dhcpv4.WithRelay(ip("10.9.9.9"))), 0, ""},
		{"a stranger", message(dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(net.HardwareAddr{2, 9, 9, 9, 9, 9})), 0, ""},
		{"garbage", []byte("not DHCP at all"), 0, ""},
		{"nothing", nil, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			answer := l.answer(test.message)
			if test.kind == 0 {
				g.Expect(answer).To(BeNil())
				return
			}
			g.Expect(answer).NotTo(BeNil())
			g.Expect(answer.to.String()).To(Equal(test.to))
			m, err := dhcpv4.FromBytes(answer.payload)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(m.MessageType()).To(Equal(test.kind))
			if test.name == "inform" {
				g.Expect(m.YourIPAddr.IsUnspecified()).To(BeTrue())
				g.Expect(m.Options.Has(dhcpv4.OptionIPAddressLeaseTime)).To(BeFalse())
			}
		})
	}
}

func FuzzDHCP(f *testing.F) {
	network := lan(1)
	l := newLeases(network)
	m, err := dhcpv4.NewDiscovery(network.Hosts[0].MAC)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.ToBytes())
	f.Fuzz(func(_ *testing.T, message []byte) { l.answer(message) })
}
