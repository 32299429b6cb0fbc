package fabric

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/nat"
)

func TestARouterWithoutNATCarriesTCPBothWays(t *testing.T) {
	g := NewWithT(t)
	f, r := twoSites(t, nat.Config{}, nil)
	alice := boot(t, f, "alice", "home").through(addr4(20, 200))
	bob := boot(t, f, "bob", "wan").through(addr4(30, 200), 20)
	echo(t, bob.listen(t, 7))
	echo(t, alice.listen(t, 7))
	conn, err := alice.dial(within(t), "10.30.0.11:7")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(conn.RemoteAddr().String()).To(Equal("10.30.0.11:7"))
	roundTrip(t, conn, strings.Repeat("from inside ", 20000))
	conn, err = bob.dial(within(t), "10.20.0.11:7")
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "from outside")
	g.Expect(r.Mappings()).To(BeEmpty())
	g.Expect(r.Counters().Forwarded).To(BeNumerically(">", 100))
	g.Expect(r.Counters().Dropped).To(BeEmpty())
	g.Expect(r.Links()).To(HaveLen(2))
	link, err := f.Link("gw", "home")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(link).To(Equal(r.Links()[0]))
	g.Expect(link.Counters().Ingress.Frames).To(BeNumerically(">", 50))
}

func TestEachTypeOfNATCarriesTCPAndUDP(t *testing.T) {
	for _, name := range nat.Presets()[1:] {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f, r := twoSites(t, preset(t, name), nil)
			alice := boot(t, f, "alice", "home").through(addr4(20, 200))
			bob, carl := boot(t, f, "bob", "wan"), boot(t, f, "carl", "wan")
			tellAddresses(t, bob.listen(t, 80))
			conn, err := alice.dialFrom(within(t), 4000, "10.30.0.11:80")
			g.Expect(err).NotTo(HaveOccurred())
			seen, err := io.ReadAll(conn)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(conn.Close()).To(Succeed())
			g.Expect(string(seen)).To(HavePrefix("10.30.0.200:"))
			preserved := string(seen) == "10.30.0.200:4000"
			g.Expect(preserved).To(Equal(name != "symmetric"))

			a, b, b2, c := alice.udp(t, 5000), bob.udp(t, 6000), bob.udp(t, 6001), carl.udp(t, 6000)
			a.send("10.30.0.11:6000", "hello")
			_, mapped := b.recv()
			b.send(mapped, "hello yourself")
			text, from := a.recv()
			g.Expect([]string{text, from}).To(Equal([]string{"hello yourself", "10.30.0.11:6000"}))
			a.send("10.30.0.12:6000", "hello")
			_, other := c.recv()
			independent := other == mapped
			g.Expect(independent).To(Equal(name != "symmetric"))

			b2.send(mapped, "another port")
			g.Expect(a.hears("another port")).To(Equal(name == "full-cone" || name == "restricted-cone"))
			g.Expect(r.Mappings()).NotTo(BeEmpty())
			for _, m := range r.Mappings() {
				g.Expect(m.Inside.Addr()).To(Equal(addr4(20, 11)))
				g.Expect(m.Outside.Addr()).To(Equal(addr4(30, 200)))
			}
		})
	}
}

func TestNATChangesWhileRunning(t *testing.T) {
	g := NewWithT(t)
	f, r := twoSites(t, preset(t, "full-cone"), nil)
	alice, bob := boot(t, f, "alice", "home").through(addr4(20, 200)), boot(t, f, "bob", "wan")
	carl := boot(t, f, "carl", "wan")
	a, b, c := alice.udp(t, 5000), bob.udp(t, 6000), carl.udp(t, 6000)
	a.send("10.30.0.11:6000", "hello")
	_, mapped := b.recv()
	c.send(mapped, "one")
	g.Expect(a.hears("one")).To(BeTrue())
	g.Expect(r.SetNAT(preset(t, "port-restricted-cone"))).To(Succeed())
	c.send(mapped, "two")
	g.Expect(a.hears("two")).To(BeFalse())
	g.Expect(r.Counters().Dropped).To(HaveKeyWithValue("nat filtered", uint64(1)))
	cfg := r.NAT()
	cfg.Forwards = []nat.Forward{{Protocol: nat.UDP, Port: 99, To: netip.MustParseAddrPort("10.20.0.11:5000")}}
	g.Expect(r.SetNAT(cfg)).To(Succeed())
	c.send("10.30.0.200:99", "three")
	g.Expect(a.hears("three")).To(BeTrue())
	r.ClearNAT()
	g.Expect(r.Mappings()).To(HaveLen(1))
	g.Expect(r.SetNAT(nat.Config{Mapping: nat.AddressDependent})).To(MatchError(ContainSubstring(`router "gw": nat: mapping address-dependent with filtering none`)))
}

func TestHairpinThroughARouter(t *testing.T) {
	g := NewWithT(t)
	cfg := preset(t, "full-cone")
	cfg.Forwards = []nat.Forward{{Protocol: nat.TCP, Port: 8080, To: netip.MustParseAddrPort("10.20.0.12:80")}}
	f, r := twoSites(t, cfg, nil)
	alice := boot(t, f, "alice", "home").through(addr4(20, 200))
	anna := boot(t, f, "anna", "home").through(addr4(20, 200))
	tellAddresses(t, anna.listen(t, 80))
	call := func() (string, error) {
		conn, err := alice.dial(within(t), "10.30.0.200:8080")
		if err != nil {
			return "", err
		}
		defer conn.Close()
		seen, err := io.ReadAll(conn)
		return string(seen), err
	}
	g.Expect(call()).To(HavePrefix("10.30.0.200:"), "the external source address")
	cfg.Hairpin = false
	g.Expect(r.SetNAT(cfg)).To(Succeed())
	a := alice.udp(t, 5000)
	a.send("10.30.0.200:8080", "hello")
	g.Eventually(func() uint64 { return r.Counters().Dropped["nat hairpin off"] }).WithTimeout(patience).Should(BeNumerically(">=", 1))
}

// carrier has alice and anna in homes of their own, both behind the carrier's NAT, and bob outside.
func carrier(t testing.TB, inner, outer nat.Config) *Fabric {
	return newFabric(t, func(c *Config) {
		c.Routers = []RouterConfig{
			routerAt(0, "home-a", "a", 20, "isp", 40, inner),
			routerAt(1, "home-b", "b", 21, "isp", 40, inner),
			routerAt(2, "cgn", "isp", 40, "wan", 30, outer),
		}
		for i := range 2 {
			c.Routers[i].Outside.Routes = []Route{toAll(addr4(40, 202))}
		}
	}, segmentOf("a", 20, "alice"), segmentOf("b", 21, "anna"), segmentOf("isp", 40), segmentOf("wan", 30, "bob"))
}

func TestTwoNATsInARow(t *testing.T) {
	g := NewWithT(t)
	f := carrier(t, preset(t, "port-restricted-cone"), preset(t, "port-restricted-cone"))
	alice := boot(t, f, "alice", "a").through(addr4(20, 200))
	anna := boot(t, f, "anna", "b").through(addr4(21, 201))
	bob := boot(t, f, "bob", "wan")
	a, b, server := alice.udp(t, 5000), anna.udp(t, 5000), bob.udp(t, 3478)
	a.send("10.30.0.11:3478", "hello")
	_, mappedA := server.recv()
	b.send("10.30.0.11:3478", "hello")
	_, mappedB := server.recv()
	g.Expect(mappedA).To(Equal("10.30.0.202:5000"))
	g.Expect(mappedB).To(Equal("10.30.0.202:5001"))
	server.send(mappedA, "back")
	g.Expect(a.hears("back")).To(BeTrue())

	// A hole is punched, and the carrier lets its customers meet by their outside addresses.
	a.send(mappedB, "first")
	g.Expect(b.hears("first")).To(BeFalse())
	b.send(mappedA, "second")
	text, from := a.recv()
	g.Expect([]string{text, from}).To(Equal([]string{"second", mappedB}))
	a.send(mappedB, "third")
	g.Expect(b.hears("third")).To(BeTrue())
}

func TestTheFirewallStandsBeforeTheInside(t *testing.T) {
	g := NewWithT(t)
	f, r := twoSites(t, nat.Config{Firewall: nat.DropInbound}, nil)
	alice := boot(t, f, "alice", "home").through(addr4(20, 200))
	bob := boot(t, f, "bob", "wan").through(addr4(30, 200), 20)
	a, b := alice.udp(t, 5000), bob.udp(t, 6000)
	b.send("10.20.0.11:5000", "unasked")
	g.Expect(a.hears("unasked")).To(BeFalse())
	g.Expect(r.Counters().Dropped).To(HaveKeyWithValue("firewall", uint64(1)))
	a.send("10.30.0.11:6000", "ask")
	_, from := b.recv()
	g.Expect(from).To(Equal("10.20.0.11:5000"), "nothing is translated")
	b.send(from, "answer")
	g.Expect(a.hears("answer")).To(BeTrue())
	g.Expect(r.Mappings()).To(HaveLen(1))
}

func TestInternetBehindARouterNeedsNAT(t *testing.T) {
	g := NewWithT(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	echo(t, ln)
	f, r := twoSites(t, preset(t, "port-restricted-cone"), func(c *Config) {
		c.Networks[1].Internet = true
		c.Dialer = redirect(func(string, string) string { return ln.Addr().String() })
		c.Routers[0].Outside.Routes = []Route{toAll(addr4(30, 1))}
	})
	alice := boot(t, f, "alice", "home").through(addr4(20, 200))
	conn, err := alice.dial(within(t), "192.0.2.7:80")
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "out and back")
	g.Expect(r.SetNAT(nat.Config{})).To(Succeed())
	_, err = alice.dial(within(t), "192.0.2.7:80")
	g.Expect(err).To(MatchError(ContainSubstring("host")))
	g.Expect(r.Counters().Dropped).To(HaveKeyWithValue("prohibited", BeNumerically(">=", 1)))
}

// TestAPartitionHoldsAcrossARouter parts alice from bob: what the router forwards still bears who sent it first.
func TestAPartitionHoldsAcrossARouter(t *testing.T) {
	for _, name := range []string{"none", "symmetric"} {
		g := NewWithT(t)
		f, _ := twoSites(t, preset(t, name), nil)
		alice := boot(t, f, "alice", "home").through(addr4(20, 200))
		anna := boot(t, f, "anna", "home").through(addr4(20, 200))
		bob := boot(t, f, "bob", "wan").through(addr4(30, 200), 20)
		a, n, b := alice.udp(t, 5000), anna.udp(t, 5000), bob.udp(t, 6000)
		g.Expect(f.Block("alice", "bob")).To(Succeed())
		a.send("10.30.0.11:6000", "from alice")
		g.Expect(b.hears("from alice")).To(BeFalse())
		n.send("10.30.0.11:6000", "from anna")
		g.Expect(b.hears("from anna")).To(BeTrue(), "the router itself is not parted")
		g.Expect(f.Unblock("alice", "bob")).To(Succeed())
		a.send("10.30.0.11:6000", "again")
		text, from := b.recv()
		g.Expect(text).To(Equal("again"))
		b.send(from, "back")
		g.Expect(a.hears("back")).To(BeTrue())
		g.Expect(f.Block("gw", "alice")).To(Succeed())
		b.send(from, "forwarded")
		g.Expect(a.hears("forwarded")).To(BeTrue(), "it is bob's packet, not the router's")
	}
}

func TestARoutersLinkIsALinkLikeAnyOther(t *testing.T) {
	g := NewWithT(t)
	f, r := twoSites(t, nat.Config{}, nil)
	alice := boot(t, f, "alice", "home").through(addr4(20, 200))
	bob := boot(t, f, "bob", "wan").through(addr4(30, 200), 20)
	a, b := alice.udp(t, 5000), bob.udp(t, 6000)
	a.send("10.30.0.11:6000", "one")
	g.Expect(b.hears("one")).To(BeTrue())
	r.Links()[1].SetUp(false)
	a.send("10.30.0.11:6000", "two")
	g.Expect(b.hears("two")).To(BeFalse())
	g.Expect(r.Links()[1].Counters().Dropped).To(HaveKeyWithValue(LinkDown, uint64(1)))
	r.Links()[1].SetUp(true)
	a.send("10.30.0.11:6000", "three")
	g.Expect(b.hears("three")).To(BeTrue())
	_, err := f.Socket("gw", "home")
	g.Expect(err).To(MatchError(ContainSubstring("is a router, which needs no socket")))
}

func TestPathMTUAndFragments(t *testing.T) {
	g := NewWithT(t)
	f, r := twoSites(t, preset(t, "port-restricted-cone"), func(c *Config) {
		c.Networks[0].MTU = 9000
		c.Networks[1].MTU = 1280
	})
	alice := boot(t, f, "alice", "home").through(addr4(20, 200))
	bob := boot(t, f, "bob", "wan")
	echo(t, bob.listen(t, 7))
	conn, err := alice.dial(within(t), "10.30.0.11:7")
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, strings.Repeat("larger than the wan takes ", 4000))

	a, b := alice.udp(t, 5000), bob.udp(t, 6000)
	for _, size := range []int{1253, 4000, 8000} {
		text := string(bytes.Repeat([]byte{'x'}, size))
		a.send("10.30.0.11:6000", text)
		got, from := b.recv()
		g.Expect(got).To(HaveLen(size))
		b.send(from, text) // Already in fragments of 1280 bytes.
		got, _ = a.recv()
		g.Expect(got).To(HaveLen(size))
	}
	g.Expect(r.Counters().Fragmented).To(BeNumerically(">=", 3))

	// With "don't fragment" the sender is told what fits.
	w := connect(t, f, "anna", "home")
	w.knows(addr4(20, 200))
	w.send(w.routed(&layers.IPv4{DstIP: addr4(30, 11).AsSlice(), Flags: layers.IPv4DontFragment}, gopacket.Payload(make([]byte, 2000))))
	icmp := w.icmp()
	g.Expect(icmp.TypeCode).To(Equal(layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded)))
	g.Expect(icmp.Seq).To(BeEquivalentTo(1280), "the next hop's MTU (RFC 1191)")
}

func TestFragmentsInTheWrongOrderPassNAT(t *testing.T) {
	g := NewWithT(t)
	f, r := twoSites(t, preset(t, "symmetric"), nil)
	w, bob := connect(t, f, "alice", "home"), boot(t, f, "bob", "wan")
	w.knows(addr4(20, 200))
	b := bob.udp(t, 6000)
	whole := w.routed(&layers.IPv4{DstIP: addr4(30, 11).AsSlice()}, &layers.UDP{SrcPort: 5000, DstPort: 6000}, gopacket.Payload("sixteen and more bytes, in three pieces"))
	payload := whole[headerLen+20:]
	piece := func(id uint16, from, to int) []byte {
		ip := &layers.IPv4{DstIP: addr4(30, 11).AsSlice(), Id: id, FragOffset: uint16(from / 8)}
		if to < len(payload) {
			ip.Flags = layers.IPv4MoreFragments
		}
		return w.routed(ip, gopacket.Payload(payload[from:to]))
	}
	w.send(piece(7, 32, len(payload)), piece(7, 16, 32), piece(7, 0, 16))
	text, _ := b.recv()
	g.Expect(text).To(Equal("sixteen and more bytes, in three pieces"))
	g.Expect(r.Counters().Dropped).To(BeEmpty())
	for id := range earlyMost + 5 {
		w.send(piece(uint16(100+id), 16, 32))
	}
	g.Eventually(func() uint64 { return r.Counters().Dropped["fragment without its first"] }).WithTimeout(patience).Should(BeEquivalentTo(5))
	w.send(piece(100+earlyMost, 32, len(payload)), piece(100+earlyMost, 0, 16))
	text, _ = b.recv()
	g.Expect(text).To(Equal("sixteen and more bytes, in three pieces"))
}

func TestANeighbourThatIsAbsentIsReported(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	f, r := twoSites(t, preset(t, "port-restricted-cone"), nil)
	w := connect(t, f, "alice", "home")
	w.knows(addr4(20, 200))
	began := time.Now()
	for range neighbourQueue + 3 {
		w.send(w.routed(&layers.IPv4{DstIP: addr4(30, 99).AsSlice()}, &layers.UDP{SrcPort: 1, DstPort: 2}))
	}
	for range neighbourQueue {
		icmp := w.icmp()
		g.Expect(icmp.TypeCode).To(Equal(layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeHost)))
		inner := gopacket.NewPacket(icmp.Payload, layers.LayerTypeIPv4, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		g.Expect(inner.SrcIP.String()).To(Equal("10.20.0.11"), "as it was sent")
	}
	g.Expect(time.Since(began)).To(BeNumerically("~", 3*time.Second, time.Second))
	g.Expect(r.Counters().Dropped).To(And(HaveKeyWithValue("no neighbour", uint64(neighbourQueue)), HaveKeyWithValue("neighbour queue full", uint64(3))))
}

func TestARouterIsPutBackToWhatItWas(t *testing.T) {
	g := NewWithT(t)
	f, r := twoSites(t, preset(t, "symmetric"), nil)
	alice, bob := boot(t, f, "alice", "home").through(addr4(20, 200)), boot(t, f, "bob", "wan")
	a, b := alice.udp(t, 5000), bob.udp(t, 6000)
	a.send("10.30.0.11:6000", "hello")
	_, mapped := b.recv()
	saved, list := time.Now(), r.Mappings()
	r.ClearNAT()
	b.send(mapped, "lost")
	g.Expect(a.hears("lost")).To(BeFalse())
	g.Expect(r.RestoreMappings(list, saved)).To(Equal(1))
	b.send(mapped, "found")
	g.Expect(a.hears("found")).To(BeTrue())
}
