package fabric

import (
	"net/netip"
	"slices"

	"ionlab/internal/fabric/nat"
)

// routed is what routers make of a network, as its gateway tells it to the guests.
type routed struct {
	// router is the first one that has the network inside: the guests' default route. It is not valid where there is none.
	router netip.Addr
	// routers are the addresses of all routers on the network, by name.
	routers []Host
	// reaches are the networks whose hosts can be reached from here by their own addresses, the nearest first: outwards
	// through any router, inwards through those that begin without translation.
	reaches []string
	// online is whether the network has internet, or one that routers lead outwards to.
	online bool
}

// withRouters notes at each network what the routers make of it.
func (c Config) withRouters() Config {
	beside, outwards := make(map[string][]string), make(map[string][]string) // the networks one router away
	c.Networks = slices.Clone(c.Networks)
	for _, r := range c.Routers {
		beside[r.Inside.Network] = append(beside[r.Inside.Network], r.Outside.Network)
		outwards[r.Inside.Network] = append(outwards[r.Inside.Network], r.Outside.Network)
		if r.NAT.Mapping == nat.NoMapping {
			beside[r.Outside.Network] = append(beside[r.Outside.Network], r.Inside.Network)
		}
	}
	for i := range c.Networks {
		n := &c.Networks[i]
		n.routed = routed{reaches: reachable(n.Name, beside)}
		for _, r := range c.Routers {
			if r.Inside.Network == n.Name && !n.router.IsValid() {
				n.router = r.Inside.Addr
			}
			for _, at := range r.interfaces() {
				if at.Network == n.Name {
					n.routers = append(n.routers, Host{Node: r.Name, Addr: at.Addr, MAC: at.MAC})
				}
			}
		}
		upstream := reachable(n.Name, outwards)
		n.online = n.Internet || slices.ContainsFunc(c.Networks, func(o NetworkConfig) bool {
			return o.Internet && slices.Contains(upstream, o.Name)
		})
	}
	return c
}

// reachable is every network that a chain of routers leads to.
func reachable(from string, beside map[string][]string) []string {
	seen := []string{from}
	for i := 0; i < len(seen); i++ {
		for _, next := range beside[seen[i]] {
			if !slices.Contains(seen, next) {
				seen = append(seen, next)
			}
		}
	}
	return seen[1:]
}
