package lab

import (
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/nat"
	"ionlab/internal/topology"
)

// routed has a site behind a NAT, and one that is routed.
const routed = `metadata: {name: routed}
networks:
  - {name: wan, subnet: 203.0.113.0/24}
  - {name: site-a, subnet: 192.168.10.0/24}
  - {name: site-b, subnet: 192.168.20.0/24}
routers:
  - {name: gw-a, inside: site-a, outside: wan, nat: port-restricted-cone, inside_conditions: {latency_ms: 3}}
  - {name: gw-b, inside: site-b, outside: wan, nat: none, firewall: drop-inbound}
nodes:
  - {name: alice, memory_mb: 128, networks: [site-a]}
  - {name: bob, memory_mb: 128, networks: [site-b]}
  - {name: server, memory_mb: 128, networks: [wan]}
`

func (b *bench) router(name string) *Router {
	b.t.Helper()
	router, err := b.Router(name)
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	return router
}

func (r *Router) natNow(t testing.TB) nat.Config {
	t.Helper()
	inner, err := r.wired()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return inner.NAT()
}

func TestRoutersDoWhatTheTopologySays(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, routed, nil)
	gw := b.router("gw-a")
	g.Expect(gw.natNow(t)).To(And(
		HaveField("Mapping", nat.EndpointIndependent), HaveField("Filtering", nat.AddressAndPortDependent), HaveField("Hairpin", true)))
	g.Expect(b.router("gw-b").natNow(t)).To(And(HaveField("Mapping", nat.NoMapping), HaveField("Firewall", nat.DropInbound)))
	g.Expect(gw.Links()).To(HaveLen(2))
	inside, err := gw.Link("site-a")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(inside.State()).To(Equal("delay 3ms"))
	_, err = gw.Link("site-b")
	g.Expect(err).To(MatchError(`router "gw-a" is not on a network "site-b"; it is on "site-a", "wan"`))
	g.Expect(gw.Mappings()).To(BeEmpty())
	_, err = gw.Counters()
	g.Expect(err).NotTo(HaveOccurred())
	wan, err := b.Network("wan")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(wan.Links()).To(HaveLen(3), "the server's, and those of both routers")
	g.Expect(b.Partition([][]string{{"gw-a"}, {"server"}}, nil)).To(Succeed(), "a router can be cut off like a node")
}

func TestRoutersChangeAndChangeBack(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, routed, nil)
	gw, undo := b.router("gw-a"), &Undo{}
	next := topology.NAT{
		Mapping: topology.AddressAndPortDependent, Filtering: topology.AddressDependent, Ports: topology.RandomPorts,
		UDPTimeout: time.Second, TCPTimeout: time.Minute,
		Forwards: []topology.Forward{
			{Protocol: "tcp", Port: 8022, To: netip.MustParseAddrPort("192.168.10.5:22")},
			{Protocol: "udp", Port: 53, To: netip.MustParseAddrPort("192.168.10.5:53")},
		},
	}
	g.Expect(gw.SetNAT(next, undo)).To(Succeed())
	g.Expect(gw.SetFirewall(topology.FirewallDropInbound, undo)).To(Succeed())
	now := gw.natNow(t)
	g.Expect([]any{now.Mapping, now.Filtering, now.Ports, now.Firewall, now.Hairpin, now.UDPTimeout, now.TCPTimeout}).
		To(Equal([]any{nat.AddressAndPortDependent, nat.AddressDependent, nat.Random, nat.DropInbound, false, time.Second, time.Minute}))
	g.Expect(now.Forwards[0].String() + " " + now.Forwards[1].String()).To(Equal("tcp:8022:192.168.10.5:22 udp:53:192.168.10.5:53"))
	g.Expect(gw.NAT()).To(Equal(next))
	g.Expect(gw.Firewall()).To(Equal(topology.FirewallDropInbound))
	state, err := b.NetState()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(state.Routers[0]).To(And(HaveField("Firewall", "drop-inbound"), HaveField("Mappings", HaveLen(2)),
		HaveField("Inside", "site-a "+gw.Spec().Inside.Addr.Addr().String())))
	g.Expect(undo.Run()).To(Succeed())
	g.Expect(gw.NAT()).To(Equal(gw.Spec().NAT))
	g.Expect(gw.natNow(t)).To(And(HaveField("Mapping", nat.EndpointIndependent), HaveField("Firewall", nat.Open), HaveField("Forwards", BeEmpty())))
	g.Expect(gw.SetNAT(topology.NAT{}, nil)).To(Succeed())
	g.Expect(b.Impair(gw.Links(), Impairment{LossPercent: 1}, nil)).To(Succeed())
	g.Expect(gw.Reset(nil)).To(Succeed())
	g.Expect(gw.NAT().String()).To(Equal("port-restricted-cone"))
	g.Expect(gw.Links()[0].State() + " " + gw.Links()[1].State()).To(Equal("delay 3ms none"))
}

func TestRoutersThatCannotBe(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, routed, nil)
	gw := b.router("gw-a")
	for want, next := range map[string]topology.NAT{
		`no behavior "sideways"`:                                {Mapping: "sideways", Filtering: topology.AddressDependent},
		`no choice of ports "odd"; there are: preserve, random`: {Mapping: topology.AddressDependent, Filtering: topology.AddressDependent, Ports: "odd"},
		`both are needed, or neither`:                           {Mapping: topology.AddressDependent},
	} {
		g.Expect(gw.SetNAT(next, nil)).To(MatchError(And(HavePrefix(`change router "gw-a": `), ContainSubstring(want))))
	}
	g.Expect(gw.SetFirewall("wall", nil)).To(MatchError(`change router "gw-a": no firewall "wall"; there are: none, drop-inbound`))
	g.Expect(gw.NAT().String()).To(Equal("port-restricted-cone"), "nothing has changed")
	_, err := b.Router("gw")
	g.Expect(err).To(MatchError(`lab "routed" has no router "gw"; it has ["gw-a" "gw-b"]`))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(gw.SetNAT(topology.NAT{}, nil)).To(MatchError(ErrClosed))
}

func TestNodesLearnTheirRoutes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, routed, nil)
	gwA, gwB := b.router("gw-a").Spec(), b.router("gw-b").Spec()
	g.Expect(b.node("alice").interfaces()[0].Gateway).To(Equal(gwA.Inside.Addr.Addr()))
	server := b.node("server").interfaces()[0]
	wan, err := b.Network("wan")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(server.Gateway).To(Equal(wan.Spec().Gateway))
	g.Expect(server.Routes).To(HaveLen(1), "to the site without NAT")
	g.Expect(server.Routes[0].To.String() + " via " + server.Routes[0].Via.String()).To(Equal("192.168.20.0/24 via " + gwB.Outside.Addr.Addr().String()))
}
