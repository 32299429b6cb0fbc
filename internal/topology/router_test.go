package topology_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// natOf returns the NAT of the only router of a small topology.
func natOf(g *WithT, nat string) topology.NAT {
	return parse(g, threeNetworks+"routers: [{name: r, inside: a, outside: b, nat: "+nat+"}]\n"+
		"nodes: [{name: n, networks: [{name: a, ip: 10.1.0.5}]}]").Routers[0].NAT
}

// TestNATKinds holds the names of RFC 3489 against the behaviours of RFC 4787.
func TestNATKinds(t *testing.T) {
	for name, want := range map[string][3]string{
		"none":                 {"", "", ""},
		"full-cone":            {"endpoint-independent", "endpoint-independent", "preserve"},
		"restricted-cone":      {"endpoint-independent", "address-dependent", "preserve"},
		"port-restricted-cone": {"endpoint-independent", "address-and-port-dependent", "preserve"},
		"symmetric":            {"address-and-port-dependent", "address-and-port-dependent", "random"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			nat := natOf(g, name)
			g.Expect([3]string{string(nat.Mapping), string(nat.Filtering), string(nat.Ports)}).To(Equal(want))
			g.Expect(natOf(g, "{type: "+name+"}")).To(Equal(nat), "a name and a mapping with that type differ")
			g.Expect(nat.String()).To(Equal(name))
			g.Expect(nat.IsNone()).To(Equal(name == "none"))
			if nat.IsNone() {
				g.Expect(nat).To(Equal(topology.NAT{}))
				return
			}
			g.Expect(nat.Hairpin).To(BeTrue())
			g.Expect(nat.UDPTimeout).To(Equal(300 * time.Second))
			g.Expect(nat.TCPTimeout).To(Equal(7440 * time.Second))
		})
	}
}

func TestNATDetails(t *testing.T) {
	g := NewWithT(t)
	symmetric := natOf(g, "symmetric")
	symmetric.Ports, symmetric.UDPTimeout = topology.PreservePorts, 1500*time.Millisecond
	g.Expect(natOf(g, "{type: symmetric, ports: preserve, udp_timeout_s: 1.5}")).To(Equal(symmetric))
	own := natOf(g, `{mapping: address-dependent, filtering: endpoint-independent, hairpin: false, tcp_timeout_s: 10, forwards: ["udp:5:10.1.0.5:6"]}`)
	g.Expect(own.String()).To(Equal("address-dependent mapping, endpoint-independent filtering"))
	g.Expect(own.Ports).To(Equal(topology.PreservePorts))
	g.Expect(own.Hairpin).To(BeFalse())
	g.Expect(own.UDPTimeout).To(Equal(topology.DefaultUDPTimeout))
	g.Expect(own.TCPTimeout).To(Equal(10 * time.Second))
	g.Expect(own.Forwards).To(HaveLen(1))
	g.Expect(own.Forwards[0].Protocol).To(Equal("udp"))
	g.Expect(own.Forwards[0].Port).To(Equal(uint16(5)))
	g.Expect(own.Forwards[0].To.String()).To(Equal("10.1.0.5:6"))
	g.Expect(own.Forwards[0].String()).To(Equal("udp:5:10.1.0.5:6"))
}

// TestForwardsReachBehindRouters shows targets further inside, and the address of another NAT.
func TestForwardsReachBehindRouters(t *testing.T) {
	g := NewWithT(t)
	parsed := parse(g, threeNetworks+`routers:
  - {name: inner, inside: a, outside: b}
  - {name: outer, inside: b, outside: c, nat: {type: symmetric, forwards: ["tcp:1:10.1.0.10:1", "tcp:2:10.2.0.10:2"]}}
nodes: [{name: n, networks: [a]}]`)
	g.Expect(parsed.Routers[0].Outside.Addr.String()).To(Equal("10.2.0.10/24"))
	_, err := topology.Parse("t.yaml", []byte(threeNetworks+`routers:
  - {name: inner, inside: a, outside: b, nat: full-cone}
  - {name: outer, inside: b, outside: c, nat: {type: symmetric, forwards: ["tcp:1:10.1.0.10:1"]}}
nodes: [{name: n, networks: [a]}]`))
	g.Expect(err).To(MatchError(ContainSubstring("10.1.0.10 is not behind the router")), "NAT hides what is behind it")
}

func TestRouterAddressPlan(t *testing.T) {
	g := NewWithT(t)
	parsed := parse(g, `networks: [{name: a, subnet: 10.1.0.0/24}, {name: b, subnet: 10.2.0.0/29}]
routers:
  - {name: r1, inside: a, outside: b}
  - {name: r2, inside: a, outside: b, ip_inside: 10.1.0.2}
  - {name: r3, inside: a, outside: b, ip_outside: 10.2.0.2}
nodes: [{name: n, networks: [a, b]}, {name: m, networks: [{name: a, ip: 10.1.0.3}]}]`)
	var got []string
	for _, r := range parsed.Routers {
		got = append(got, r.Name+" "+r.Inside.Addr.String()+" "+r.Outside.Addr.String())
	}
	g.Expect(got).To(Equal([]string{
		"r1 10.1.0.4/24 10.2.0.4/29", "r2 10.1.0.2/24 10.2.0.5/29", "r3 10.1.0.5/24 10.2.0.2/29",
	}))
	g.Expect(parsed.Nodes[0].Links[1].Addr.String()).To(Equal("10.2.0.3/29"))
	g.Expect(parsed.Nodes[0].Links[0].Gateway.String()).To(Equal("10.1.0.4"), "the first router of the file is the default")
}

// TestRoutersMoveNoNode shows that nodes keep their addresses and MAC addresses when a router is added.
func TestRoutersMoveNoNode(t *testing.T) {
	g := NewWithT(t)
	const nodes = "nodes: [{name: n, networks: [a, b]}, {name: m, networks: [b]}]"
	without := parse(g, threeNetworks+nodes)
	with := parse(g, threeNetworks+"routers: [{name: r, inside: a, outside: b, nat: symmetric}]\n"+nodes)
	for i := range without.Nodes {
		for j, link := range without.Nodes[i].Links {
			g.Expect(with.Nodes[i].Links[j].Addr).To(Equal(link.Addr))
			g.Expect(with.Nodes[i].Links[j].MAC).To(Equal(link.MAC))
		}
	}
}

// TestRouterConditions follows the order network, router, port of the router.
func TestRouterConditions(t *testing.T) {
	g := NewWithT(t)
	router := parse(g, `networks:
  - {name: a, subnet: 10.1.0.0/24, conditions: {latency_ms: 1, jitter_ms: 1}}
  - {name: b, subnet: 10.2.0.0/24, preset: broadband}
routers:
  - name: r
    inside: a
    outside: b
    conditions: {latency_ms: 2, corrupt_percent: 3}
    inside_conditions: {corrupt_percent: 4}
    outside_conditions: {egress: {latency_ms: 5}}
nodes: [{name: n, networks: [a]}]`).Routers[0]
	inside := impairment{Delay: 2 * time.Millisecond, Jitter: time.Millisecond, CorruptPercent: 4}
	g.Expect(router.Inside.Conditions).To(Equal(topology.Conditions{Egress: inside, Ingress: inside}))
	outside := impairment{Delay: 2 * time.Millisecond, LossPercent: 0.1, RateKbps: 100_000, CorruptPercent: 3}
	g.Expect(router.Outside.Conditions.Ingress).To(Equal(outside))
	outside.Delay = 5 * time.Millisecond
	g.Expect(router.Outside.Conditions.Egress).To(Equal(outside))
}

func TestRouterLookup(t *testing.T) {
	g := NewWithT(t)
	parsed := parse(g, threeNetworks+"routers: [{name: Gw, inside: a, outside: b}]\nnodes: [{name: n, networks: [a]}]")
	router, ok := parsed.Router("gw")
	g.Expect(ok).To(BeTrue())
	g.Expect(router).To(BeIdenticalTo(&parsed.Routers[0]))
	_, ok = parsed.Router("n")
	g.Expect(ok).To(BeFalse())
}

func TestSeedAndCaptures(t *testing.T) {
	g := NewWithT(t)
	parsed := parse(g, "seed: 12345\ncaptures: [{network: B}]\n"+threeNetworks+"nodes: [{name: n, networks: [a]}]")
	g.Expect(parsed.Seed).To(Equal(uint64(12345)))
	g.Expect(parsed.Networks[0].Capture).To(BeFalse())
	g.Expect(parsed.Networks[1].Capture).To(BeTrue())
	g.Expect(parse(g, "nodes: [{name: n}]").Seed).To(BeZero())
}

// TestDigestSeesEveryField changes one thing at a time.
func TestDigestSeesEveryField(t *testing.T) {
	g := NewWithT(t)
	const file = `seed: 5
networks: [{name: a, subnet: 10.1.0.0/24, capture: true}, {name: b, subnet: 10.2.0.0/24}, {name: c, subnet: 10.3.0.0/24}]
routers:
  - name: r
    inside: a
    outside: b
    nat: {type: full-cone, mapping: endpoint-independent, filtering: endpoint-independent, ports: preserve, hairpin: true, udp_timeout_s: 30, tcp_timeout_s: 60, forwards: ["tcp:1:10.1.0.10:1"]}
    firewall: none
    ip_inside: 10.1.0.2
    ip_outside: 10.2.0.9
    inside_conditions: {latency_ms: 1}
    outside_conditions: {jitter_distribution: uniform}
nodes: [{name: n, networks: [a], network_conditions: {queue_ms: 5, packet_loss_bursts: {enter_percent: 1, leave_percent: 2, good_percent: 3, bad_percent: 4}}}]`
	seen := map[string]string{parse(g, file).Digest: "the file itself"}
	for _, change := range [][2]string{
		{"seed: 5", "seed: 6"},
		{"capture: true", "capture: false"},
		{"name: r\n", "name: s\n"},
		{"mapping: endpoint-independent", "mapping: address-dependent"},
		{"filtering: endpoint-independent", "filtering: address-dependent"},
		{"ports: preserve", "ports: random"},
		{"hairpin: true", "hairpin: false"},
		{"udp_timeout_s: 30", "udp_timeout_s: 31"},
		{"tcp_timeout_s: 60", "tcp_timeout_s: 61"},
		{"tcp:1:", "udp:1:"},
		{"tcp:1:", "tcp:2:"},
		{"10.1.0.10:1", "10.1.0.10:2"},
		{"firewall: none", "firewall: drop-inbound"},
		{"ip_inside: 10.1.0.2", "ip_inside: 10.1.0.3"},
		{"ip_outside: 10.2.0.9", "ip_outside: 10.2.0.8"},
		{"latency_ms: 1", "latency_ms: 2"},
		{"uniform", "normal"},
		{"queue_ms: 5", "queue_ms: 6"},
		{"queue_ms: 5", "queue_bytes: 5000"},
		{"enter_percent: 1", "enter_percent: 9"},
		{"leave_percent: 2", "leave_percent: 9"},
		{"good_percent: 3", "good_percent: 9"},
		{"bad_percent: 4", "bad_percent: 9"},
	} {
		changed := strings.Replace(file, change[0], change[1], 1)
		g.Expect(changed).NotTo(Equal(file), change[0])
		digest := parse(g, changed).Digest
		g.Expect(seen).NotTo(HaveKey(digest), "%s has the digest of %s", change[1], seen[digest])
		seen[digest] = change[1]
	}
}
