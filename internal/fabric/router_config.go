package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"ionlab/internal/fabric/nat"
)

// RouterConfig is a router between two networks.
type RouterConfig struct {
	// Name is in one name space with the nodes.
	Name            string
	Inside, Outside Interface
	// NAT is between the inside and the address of Outside. Its zero value forwards as it is.
	NAT nat.Config
}

// Interface is a router's place on a network.
type Interface struct {
	Network string
	Addr    netip.Addr
	MAC     net.HardwareAddr
	// Addr6 are the interface's IPv6 addresses, each with the length of its subnet's prefix. A link-local one is there
	// anyway.
	Addr6 []netip.Prefix
	// Conditions is what the router's link begins with.
	Conditions Conditions
	Routes     []Route
}

// Route says that a network is reached through another router, or the gateway, on the interface's network.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

func (c RouterConfig) interfaces() []Interface { return []Interface{c.Inside, c.Outside} }

// validateRouters looks at what the routers and the rest of c say of each other.
func (c Config) validateRouters() []error {
	networks := make(map[string]NetworkConfig)
	names := make(map[string]bool)
	for _, n := range c.Networks {
		networks[n.Name] = n
		for _, h := range n.Hosts {
			names[h.Node] = true
		}
	}
	var errs []error
	taken := make(map[string]string) // network and address, or MAC
	for _, r := range c.Routers {
		if r.Name == "" || names[r.Name] {
			errs = append(errs, fmt.Errorf("router %q: the name is empty or taken", r.Name))
		}
		names[r.Name] = true
		for _, err := range r.validate(networks, taken) {
			errs = append(errs, fmt.Errorf("router %q: %w", r.Name, err))
		}
	}
	return errs
}

func (c RouterConfig) validate(networks map[string]NetworkConfig, taken map[string]string) []error {
	var errs []error
	if c.Inside.Network == c.Outside.Network {
		errs = append(errs, fmt.Errorf("both sides are on network %q", c.Inside.Network))
	}
	if err := c.NAT.Validate(); err != nil {
		errs = append(errs, err)
	}
	for _, i := range c.interfaces() {
		n, ok := networks[i.Network]
		if !ok {
			errs = append(errs, fmt.Errorf("no network %q", i.Network))
			continue
		}
		for _, problem := range i.validate(n) {
			errs = append(errs, fmt.Errorf("on network %q: %w", i.Network, problem))
		}
		for _, key := range []string{i.Addr.String(), i.MAC.String()} {
			if other, ok := taken[i.Network+" "+key]; ok {
				errs = append(errs, fmt.Errorf("on network %q: router %q has %s too", i.Network, other, key))
			}
			taken[i.Network+" "+key] = c.Name
		}
	}
	return errs
}

func (i Interface) validate(n NetworkConfig) []error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !i.Addr.Is4() || !n.Subnet.Contains(i.Addr) || i.Addr == lastAddr(n.Subnet) {
		fail("address %s is not one of %s", i.Addr, n.Subnet)
	}
	if i.Addr == n.Control || i.Addr == n.Gateway {
		fail("address %s is the fabric's own", i.Addr)
	}
	if len(i.MAC) != 6 || i.MAC[0]&1 != 0 {
		fail("MAC %q, want six bytes of a unicast address", i.MAC)
	}
	for _, h := range n.Hosts {
		if h.Addr == i.Addr {
			fail("node %q has address %s too", h.Node, i.Addr)
		}
		if h.MAC.String() == i.MAC.String() {
			fail("node %q has MAC %s too", h.Node, i.MAC)
		}
	}
	for _, p := range i.Addr6 {
		if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p.Addr().IsMulticast() {
			fail("IPv6 address %s, want a unicast address with the length of its prefix", p)
		}
	}
	for _, r := range i.Routes {
		if !r.To.IsValid() || !r.Via.IsValid() || r.To.Addr().Is4() != r.Via.Is4() || r.Via == i.Addr {
			fail("route to %s via %s, want a subnet and another router's address", r.To, r.Via)
		} else if r.Via.Is4() && !n.Subnet.Contains(r.Via) {
			fail("route to %s via %s, which is not in %s", r.To, r.Via, n.Subnet)
		}
	}
	return append(errs, wrapped(i.Conditions.Validate())...)
}

// wrapped is err as a list of at most one.
func wrapped(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

var errNoRouter = errors.New("there are no routers")
