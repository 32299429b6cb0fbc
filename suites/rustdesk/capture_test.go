package rustdesk_test

import (
	"net/netip"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
)

// packet is a packet of IPv4 in a capture.
type packet struct {
	from, to netip.AddrPort
	tcp, udp bool
	// asks is a TCP segment that opens a connection; bytes is the payload of TCP or UDP.
	asks  bool
	bytes int
	// names are those that a DNS query asks for.
	names []string
}

// packets ends a capture and reads it. The file of one link's capture has each packet once.
func packets(c *labtest.Capture) []packet {
	GinkgoHelper()
	Expect(c.Close()).To(Succeed())
	file, err := os.Open(c.Path())
	Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	reader, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	Expect(err).NotTo(HaveOccurred())
	var all []packet
	for {
		data, _, err := reader.ReadPacketData()
		if err != nil {
			Expect(all).NotTo(BeEmpty(), "the capture is empty: %v", err)
			return all
		}
		if p, ok := parse(data); ok {
			all = append(all, p)
		}
	}
}

func parse(data []byte) (packet, bool) {
	decoded := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy)
	ip, ok := decoded.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		return packet{}, false
	}
	from, _ := netip.AddrFromSlice(ip.SrcIP.To4())
	to, _ := netip.AddrFromSlice(ip.DstIP.To4())
	p := packet{from: netip.AddrPortFrom(from, 0), to: netip.AddrPortFrom(to, 0)}
	if tcp, ok := decoded.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
		p.tcp, p.asks, p.bytes = true, tcp.SYN && !tcp.ACK, len(tcp.Payload)
		p.from, p.to = netip.AddrPortFrom(from, uint16(tcp.SrcPort)), netip.AddrPortFrom(to, uint16(tcp.DstPort))
	}
	if udp, ok := decoded.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
		p.udp, p.bytes = true, len(udp.Payload)
		p.from, p.to = netip.AddrPortFrom(from, uint16(udp.SrcPort)), netip.AddrPortFrom(to, uint16(udp.DstPort))
	}
	if dns, ok := decoded.Layer(layers.LayerTypeDNS).(*layers.DNS); ok && !dns.QR {
		for _, q := range dns.Questions {
			p.names = append(p.names, string(q.Name))
		}
	}
	return p, true
}

// carried is how many bytes of TCP have an address with this port at one end and the host at the other.
func carried(all []packet, one netip.Addr, port uint16, other netip.Addr) (bytes int) {
	at := func(a netip.AddrPort) bool { return a.Addr() == one && (port == 0 || a.Port() == port) }
	for _, p := range all {
		if p.tcp && (at(p.from) && p.to.Addr() == other || at(p.to) && p.from.Addr() == other) {
			bytes += p.bytes
		}
	}
	return bytes
}
