package topology

import (
	"net/netip"
	"strings"
)

// routing works out who reaches which network through which router. A router passes packets on from its inside to its
// outside; the other way leads through it only where it does no NAT.
type routing struct {
	t *Topology
	// index has the place of each network in t.Networks by its name in lower case.
	index map[string]int
	// exits has the routers of each network that lead out of it, in the order of the file.
	exits [][]exit
	// ways is what has been worked out, by network.
	ways map[int][]way
}

// exit is a router as seen from one of its two networks: an address there, and the network beyond.
type exit struct {
	via netip.Addr
	to  int
}

// way says how a network is reached: over how many routers, and through which address first.
type way struct {
	routers int
	via     netip.Addr
}

// planRoutes fills in the routes of all nodes and routers.
func planRoutes(t *Topology) {
	p := newRouting(t)
	for i := range t.Networks {
		t.Networks[i].DefaultVia = p.defaultVia(i)
		t.Networks[i].Reaches = p.reaches(i)
	}
	for i := range t.Nodes {
		p.routeNode(&t.Nodes[i])
	}
	for i := range t.Routers {
		p.routeRouter(&t.Routers[i])
	}
}

func newRouting(t *Topology) *routing {
	p := &routing{t: t, index: map[string]int{}, exits: make([][]exit, len(t.Networks)), ways: map[int][]way{}}
	for i, network := range t.Networks {
		p.index[strings.ToLower(network.Name)] = i
	}
	for _, router := range t.Routers {
		inside, knownInside := p.index[strings.ToLower(router.Inside.Network)]
		outside, knownOutside := p.index[strings.ToLower(router.Outside.Network)]
		if !knownInside || !knownOutside {
			continue
		}
		p.exits[inside] = append(p.exits[inside], exit{router.Inside.Addr.Addr(), outside})
		if router.NAT.IsNone() {
			p.exits[outside] = append(p.exits[outside], exit{router.Outside.Addr.Addr(), inside})
		}
	}
	return p
}

// defaultVia returns the next hop for everything that no other route is for.
func (p *routing) defaultVia(network int) netip.Addr {
	for _, router := range p.t.Routers {
		if inside, known := p.index[strings.ToLower(router.Inside.Network)]; known && inside == network {
			return router.Inside.Addr.Addr()
		}
	}
	return p.t.Networks[network].Gateway
}

// from returns the way to each network from one of them: the shortest one, and of several the one through the router
// that comes first in the file.
func (p *routing) from(network int) []way {
	if ways, known := p.ways[network]; known {
		return ways
	}
	ways := make([]way, len(p.t.Networks))
	for queue := []int{network}; len(queue) > 0; queue = queue[1:] {
		here := queue[0]
		for _, exit := range p.exits[here] {
			if exit.to == network || ways[exit.to].routers > 0 {
				continue
			}
			via := ways[here].via
			if here == network {
				via = exit.via
			}
			ways[exit.to] = way{routers: ways[here].routers + 1, via: via}
			queue = append(queue, exit.to)
		}
	}
	p.ways[network] = ways
	return ways
}

// reaches names the networks that the routes of one lead to.
func (p *routing) reaches(network int) []string {
	var names []string
	for i, way := range p.from(network) {
		if way.routers > 0 {
			names = append(names, p.t.Networks[i].Name)
		}
	}
	return names
}

// nearest returns, of the networks that a machine is on, the one that is nearest to another network, as an index into
// them, and the way from there. It returns false where there is no way, or the machine is on that network.
func (p *routing) nearest(on []int, to int) (int, way, bool) {
	best, found := 0, way{}
	for i, network := range on {
		if network == to {
			return 0, way{}, false
		}
		w := p.from(network)[to]
		if w.routers > 0 && (found.routers == 0 || w.routers < found.routers) {
			best, found = i, w
		}
	}
	return best, found, found.routers > 0
}

func (p *routing) routeNode(node *Node) {
	var on []int
	for _, link := range node.Links {
		on = append(on, p.index[strings.ToLower(link.Network)])
	}
	if len(on) == 0 {
		return
	}
	node.Links[0].Gateway = p.t.Networks[on[0]].DefaultVia
	for to, network := range p.t.Networks {
		i, way, found := p.nearest(on, to)
		if !found || i == 0 && way.via == node.Links[0].Gateway {
			continue
		}
		node.Links[i].Routes = append(node.Links[i].Routes, Route{To: network.Subnet, Via: way.via})
	}
}

func (p *routing) routeRouter(router *Router) {
	inside, knownInside := p.index[strings.ToLower(router.Inside.Network)]
	outside, knownOutside := p.index[strings.ToLower(router.Outside.Network)]
	if !knownInside || !knownOutside {
		return
	}
	via := p.t.Networks[outside].DefaultVia
	for to, network := range p.t.Networks {
		i, way, found := p.nearest([]int{inside, outside}, to)
		switch {
		case !found, i == 1 && way.via == via:
		case i == 0:
			router.Inside.Routes = append(router.Inside.Routes, Route{To: network.Subnet, Via: way.via})
		default:
			router.Outside.Routes = append(router.Outside.Routes, Route{To: network.Subnet, Via: way.via})
		}
	}
	router.Outside.Routes = append(router.Outside.Routes, Route{To: everywhere(), Via: via})
}

// everywhere is where a default route leads.
func everywhere() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }
