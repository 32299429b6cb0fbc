package topology_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// routesOf writes out which routes every link and every router's port has.
func routesOf(t *topology.Topology) string {
	var b strings.Builder
	line := func(who string, addr fmt.Stringer, hops []string) {
		b.WriteString(strings.TrimSpace(fmt.Sprintf("%s %s: %s", who, addr, strings.Join(hops, ", "))) + "\n")
	}
	for _, node := range t.Nodes {
		for _, link := range node.Links {
			var hops []string
			if link.Gateway.IsValid() {
				hops = append(hops, "default via "+link.Gateway.String())
			}
			line(node.Name, link.Addr, append(hops, hopsOf(link.Routes)...))
		}
	}
	for _, router := range t.Routers {
		line(router.Name+" inside", router.Inside.Addr, hopsOf(router.Inside.Routes))
		line(router.Name+" outside", router.Outside.Addr, hopsOf(router.Outside.Routes))
	}
	return b.String()
}

func hopsOf(routes []topology.Route) []string {
	var hops []string
	for _, route := range routes {
		hops = append(hops, route.To.String()+" via "+route.Via.String())
	}
	return hops
}

const threeNetworks = `networks:
  - {name: a, subnet: 10.1.0.0/24}
  - {name: b, subnet: 10.2.0.0/24}
  - {name: c, subnet: 10.3.0.0/24}
`

func TestRoutes(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"no router": {
			threeNetworks + "nodes: [{name: n, networks: [b, a]}]",
			"n 10.2.0.10/24: default via 10.2.0.1\nn 10.1.0.10/24:\n",
		},
		"two sites without NAT": {
			threeNetworks + `routers: [{name: ra, inside: a, outside: c}, {name: rb, inside: b, outside: c}]
nodes: [{name: na, networks: [a]}, {name: nb, networks: [b]}, {name: nc, networks: [c]}]`,
			`na 10.1.0.10/24: default via 10.1.0.2
nb 10.2.0.10/24: default via 10.2.0.2
nc 10.3.0.10/24: default via 10.3.0.1, 10.1.0.0/24 via 10.3.0.11, 10.2.0.0/24 via 10.3.0.12
ra inside 10.1.0.2/24:
ra outside 10.3.0.11/24: 10.2.0.0/24 via 10.3.0.12, 0.0.0.0/0 via 10.3.0.1
rb inside 10.2.0.2/24:
rb outside 10.3.0.12/24: 10.1.0.0/24 via 10.3.0.11, 0.0.0.0/0 via 10.3.0.1
`,
		},
		"NAT hides its inside": {
			threeNetworks + `routers: [{name: ra, inside: a, outside: c, nat: full-cone}, {name: rb, inside: b, outside: c, nat: symmetric}]
nodes: [{name: nc, networks: [c]}]`,
			`nc 10.3.0.10/24: default via 10.3.0.1
ra inside 10.1.0.2/24:
ra outside 10.3.0.11/24: 0.0.0.0/0 via 10.3.0.1
rb inside 10.2.0.2/24:
rb outside 10.3.0.12/24: 0.0.0.0/0 via 10.3.0.1
`,
		},
		"two NATs in a row": {
			threeNetworks + `routers: [{name: box, inside: a, outside: b, nat: full-cone}, {name: carrier, inside: b, outside: c, nat: full-cone}]
nodes: [{name: na, networks: [a]}, {name: nb, networks: [b]}, {name: nc, networks: [c]}]`,
			`na 10.1.0.10/24: default via 10.1.0.2
nb 10.2.0.10/24: default via 10.2.0.2
nc 10.3.0.10/24: default via 10.3.0.1
box inside 10.1.0.2/24:
box outside 10.2.0.11/24: 0.0.0.0/0 via 10.2.0.2
carrier inside 10.2.0.2/24:
carrier outside 10.3.0.11/24: 0.0.0.0/0 via 10.3.0.1
`,
		},
		"a chain without NAT, whose routers come in another order": {
			threeNetworks + `routers: [{name: upper, inside: b, outside: c}, {name: lower, inside: a, outside: b}]
nodes: [{name: na, networks: [a]}, {name: nc, networks: [c]}]`,
			`na 10.1.0.10/24: default via 10.1.0.2
nc 10.3.0.10/24: default via 10.3.0.1, 10.1.0.0/24 via 10.3.0.11, 10.2.0.0/24 via 10.3.0.11
upper inside 10.2.0.2/24: 10.1.0.0/24 via 10.2.0.10
upper outside 10.3.0.11/24: 0.0.0.0/0 via 10.3.0.1
lower inside 10.1.0.2/24:
lower outside 10.2.0.10/24: 0.0.0.0/0 via 10.2.0.2
`,
		},
		"a site with two ways out": {
			threeNetworks + `routers: [{name: first, inside: a, outside: b, nat: full-cone}, {name: second, inside: a, outside: c}]
nodes: [{name: na, networks: [a]}, {name: nb, networks: [b]}, {name: nc, networks: [c]}]`,
			`na 10.1.0.10/24: default via 10.1.0.2, 10.3.0.0/24 via 10.1.0.3
nb 10.2.0.10/24: default via 10.2.0.1
nc 10.3.0.10/24: default via 10.3.0.1, 10.1.0.0/24 via 10.3.0.11, 10.2.0.0/24 via 10.3.0.11
first inside 10.1.0.2/24: 10.3.0.0/24 via 10.1.0.3
first outside 10.2.0.11/24: 0.0.0.0/0 via 10.2.0.1
second inside 10.1.0.3/24: 10.2.0.0/24 via 10.1.0.2
second outside 10.3.0.11/24: 0.0.0.0/0 via 10.3.0.1
`,
		},
		"two routers side by side: the first one is for all": {
			threeNetworks + `routers: [{name: r1, inside: a, outside: b}, {name: r2, inside: a, outside: b}]
nodes: [{name: na, networks: [a]}, {name: nb, networks: [b]}]`,
			`na 10.1.0.10/24: default via 10.1.0.2
nb 10.2.0.10/24: default via 10.2.0.1, 10.1.0.0/24 via 10.2.0.11
r1 inside 10.1.0.2/24:
r1 outside 10.2.0.11/24: 0.0.0.0/0 via 10.2.0.1
r2 inside 10.1.0.3/24:
r2 outside 10.2.0.12/24: 0.0.0.0/0 via 10.2.0.1
`,
		},
		"a node uses the nearest of its networks": {
			threeNetworks + `routers: [{name: r, inside: b, outside: c}]
nodes: [{name: n, networks: [a, b]}, {name: m, networks: [a, b, c]}]`,
			`n 10.1.0.10/24: default via 10.1.0.1
n 10.2.0.10/24: 10.3.0.0/24 via 10.2.0.2
m 10.1.0.11/24: default via 10.1.0.1
m 10.2.0.11/24:
m 10.3.0.10/24:
r inside 10.2.0.2/24:
r outside 10.3.0.11/24: 0.0.0.0/0 via 10.3.0.1
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			parsed := parse(g, c.yaml)
			expectInvariants(g, parsed)
			g.Expect(routesOf(parsed)).To(Equal(c.want))
		})
	}
}

func TestReaches(t *testing.T) {
	g := NewWithT(t)
	parsed := parse(g, threeNetworks+`routers: [{name: box, inside: A, outside: b}, {name: carrier, inside: b, outside: C, nat: full-cone}]
nodes: [{name: n, networks: [a]}]`)
	got := map[string][]string{}
	for _, network := range parsed.Networks {
		got[network.Name] = network.Reaches
	}
	g.Expect(got).To(Equal(map[string][]string{"a": {"b", "c"}, "b": {"a", "c"}, "c": nil}))
	g.Expect(parsed.Networks[0].DefaultVia.String()).To(Equal("10.1.0.2"))
	g.Expect(parsed.Networks[2].DefaultVia).To(Equal(parsed.Networks[2].Gateway))
	g.Expect(parsed.Routers[0].Inside.Network).To(Equal("a"), "references are to have the network's own spelling")
}

// TestRoutesLeadThere sends a packet along the routes of labs with many routers, from each node to each other one that its
// network reaches, and counts the hops.
func TestRoutesLeadThere(t *testing.T) {
	for name, yaml := range map[string]string{
		"row": `networks: [{name: n0, subnet: 10.0.0.0/24}, {name: n1, subnet: 10.0.1.0/24}, {name: n2, subnet: 10.0.2.0/24}, {name: n3, subnet: 10.0.3.0/24}, {name: n4, subnet: 10.0.4.0/24}]
routers: [{name: r0, inside: n0, outside: n1}, {name: r3, inside: n3, outside: n4}, {name: r2, inside: n2, outside: n3}, {name: r1, inside: n1, outside: n2}]
nodes: [{name: a, networks: [n0]}, {name: b, networks: [n1]}, {name: c, networks: [n2]}, {name: d, networks: [n3]}, {name: e, networks: [n4]}]`,
		"mesh": `networks: [{name: n0, subnet: 10.0.0.0/24}, {name: n1, subnet: 10.0.1.0/24}, {name: n2, subnet: 10.0.2.0/24}, {name: n3, subnet: 10.0.3.0/24}, {name: n4, subnet: 10.0.4.0/24}]
routers: [{name: r0, inside: n0, outside: n1, nat: full-cone}, {name: r1, inside: n0, outside: n2}, {name: r2, inside: n1, outside: n3}, {name: r3, inside: n2, outside: n3, nat: symmetric}, {name: r4, inside: n4, outside: n2}, {name: r5, inside: n4, outside: n3}]
nodes: [{name: a, networks: [n0]}, {name: b, networks: [n1, n4]}, {name: c, networks: [n2]}, {name: d, networks: [n3]}, {name: e, networks: [n4]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			parsed := parse(g, yaml)
			walked := 0
			for i := range parsed.Nodes {
				home, _ := parsed.Network(parsed.Nodes[i].Links[0].Network)
				for j := range parsed.Nodes {
					target := parsed.Nodes[j].Links[0]
					if !slices.Contains(home.Reaches, target.Network) {
						continue
					}
					walked++
					g.Expect(walk(parsed, &parsed.Nodes[i], target)).To(BeNumerically("<=", len(parsed.Routers)),
						"%s to %s", parsed.Nodes[i].Name, parsed.Nodes[j].Name)
				}
			}
			g.Expect(walked).To(BeNumerically(">", 8))
		})
	}
}

// walk follows the routes and returns how many routers a packet passes, 99 where it never arrives.
func walk(t *topology.Topology, from *topology.Node, target topology.Link) int {
	connected, routes := []netip.Prefix{}, []topology.Route{}
	for _, link := range from.Links {
		connected, routes = append(connected, link.Addr.Masked()), append(routes, link.Routes...)
	}
	routes = append(routes, topology.Route{Via: from.Links[0].Gateway})
	for hops := 0; hops < 32; hops++ {
		for _, subnet := range connected {
			if subnet.Contains(target.Addr.Addr()) {
				return hops
			}
		}
		router := routerAt(t, nextHop(routes, target.Addr.Addr()))
		if router == nil {
			return 99
		}
		connected = []netip.Prefix{router.Inside.Addr.Masked(), router.Outside.Addr.Masked()}
		routes = append(append([]topology.Route{}, router.Inside.Routes...), router.Outside.Routes...)
	}
	return 99
}

// nextHop takes the last route where no other fits: the default route.
func nextHop(routes []topology.Route, to netip.Addr) netip.Addr {
	for _, route := range routes {
		if route.To.Bits() > 0 && route.To.Contains(to) {
			return route.Via
		}
	}
	return routes[len(routes)-1].Via
}

func routerAt(t *topology.Topology, addr netip.Addr) *topology.Router {
	for i := range t.Routers {
		if r := &t.Routers[i]; r.Inside.Addr.Addr() == addr || r.Outside.Addr.Addr() == addr {
			return r
		}
	}
	return nil
}
