package fabric

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/nat"
)

func TestNamesReachAsFarAsTheirRouters(t *testing.T) {
	g := NewWithT(t)
	cone, _ := nat.Preset("full-cone")
	cfg := Config{
		Networks: []NetworkConfig{segmentOf("home", 20, "alice"), segmentOf("isp", 40, "proxy"), segmentOf("wan", 30, "bob"), segmentOf("lab", 50, "dora")},
		Routers: []RouterConfig{
			routerAt(0, "box", "home", 20, "isp", 40, cone),
			routerAt(1, "cgn", "isp", 40, "wan", 30, cone),
			routerAt(2, "plain", "lab", 50, "wan", 30, nat.Config{}),
		},
	}
	cfg.Networks[2].Internet = true
	cfg = cfg.withDefaults()
	for i, want := range []struct {
		reaches string
		router  netip.Addr
		online  bool
	}{
		{"isp wan lab", addr4(20, 200), true},
		{"wan lab", addr4(40, 201), true},
		{"lab", netip.Addr{}, true},
		{"wan", addr4(50, 202), true},
	} {
		n := cfg.Networks[i]
		g.Expect(strings.Join(n.reaches, " ")).To(Equal(want.reaches), n.Name)
		g.Expect(n.router).To(Equal(want.router), n.Name)
		g.Expect(n.online).To(Equal(want.online), n.Name)
	}
	alice, bob := addr4(20, 11), addr4(30, 11)
	inside, outside := names{here: "home", networks: cfg.Networks}, names{here: "wan", networks: cfg.Networks}
	for name, want := range map[string]netip.Addr{
		"bob": bob, "bob.wan": bob, "dora": addr4(50, 11), "proxy": addr4(40, 11),
		"box": addr4(20, 200), "box.isp": addr4(40, 200), "cgn": addr4(40, 201), "gateway": addr4(20, 1),
	} {
		g.Expect(inside.lookup(name, alice)).To(Equal([]netip.Addr{want}), name)
	}
	g.Expect(inside.reverse(bob, alice)).To(Equal("bob.wan.lab"))
	g.Expect(inside.reverse(addr4(20, 200), alice)).To(Equal("box.home.lab"))
	g.Expect(outside.lookup("alice", bob)).To(BeEmpty(), "behind NAT")
	g.Expect(outside.lookup("dora", bob)).To(Equal([]netip.Addr{addr4(50, 11)}))
}

func TestANetworkWithoutTheInternetAnywhereStaysHermetic(t *testing.T) {
	g := NewWithT(t)
	cfg := Config{
		Networks: []NetworkConfig{segmentOf("home", 20, "alice"), segmentOf("wan", 30, "bob")},
		Routers:  []RouterConfig{routerAt(0, "box", "home", 20, "wan", 30, nat.Config{})},
	}
	cfg.Networks[0].Internet = true
	cfg = cfg.withDefaults()
	g.Expect(cfg.Networks[0].online).To(BeTrue())
	g.Expect(cfg.Networks[1].online).To(BeFalse(), "the way out does not lead inwards")
}

// TestNamesOfTheInternetReachTheInside asks the inside's own gateway, which has no internet itself.
func TestNamesOfTheInternetReachTheInside(t *testing.T) {
	g := NewWithT(t)
	dialer, conf := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		answer.Answer = append(answer.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 7),
		})
		_ = w.WriteMsg(answer)
	})
	f, _ := twoSites(t, preset(t, "full-cone"), func(c *Config) {
		c.Networks[1].Internet = true
		c.Dialer, c.ResolvConf = dialer, conf
	})
	alice := boot(t, f, "alice", "home")
	g.Expect(ask(t, alice, "udp", "example.org.", dns.TypeA).Answer).To(HaveLen(1))
}

func TestDHCPNamesTheRouter(t *testing.T) {
	g := NewWithT(t)
	f, _ := twoSites(t, nat.Config{}, nil)
	for network, want := range map[string]netip.Addr{"home": addr4(20, 200), "wan": addr4(30, 1)} {
		n, err := f.Network(network)
		g.Expect(err).NotTo(HaveOccurred())
		host := n.cfg.Hosts[0]
		discover, err := dhcpv4.NewDiscovery(host.MAC)
		g.Expect(err).NotTo(HaveOccurred())
		offer, err := dhcpv4.FromBytes(n.gateway.leases.answer(discover.ToBytes()).payload)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(offer.Router()).To(HaveLen(1))
		g.Expect(isAddr(offer.Router()[0], want)).To(BeTrue(), "%s: %s", network, offer.Router()[0])
		g.Expect(isAddr(offer.ServerIdentifier(), n.cfg.Gateway)).To(BeTrue())
	}
}
