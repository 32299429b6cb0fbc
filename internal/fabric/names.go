package fabric

import (
	"net/netip"
	"slices"
	"strings"
)

const gatewayName = "gateway"

// names resolves what the guests of one network may ask. A name without a network means an address on the network where
// the question was asked, else on another that the asking node is on too, else on one that routers lead to.
type names struct {
	here     string // the network whose gateway is asked
	networks []NetworkConfig
}

// view is the networks that a guest at addr may know, the one it asks on first: those its node is on, then those that
// routers on them lead to.
func (z names) view(asker netip.Addr) []NetworkConfig {
	var node string
	var view []NetworkConfig
	for _, n := range z.networks {
		if n.Name != z.here {
			continue
		}
		view = append(view, n)
		for _, h := range n.Hosts {
			if h.Addr == asker {
				node = h.Node
			}
		}
	}
	for _, n := range z.networks {
		if n.Name != z.here && slices.ContainsFunc(n.Hosts, func(h Host) bool { return h.Node == node }) {
			view = append(view, n)
		}
	}
	return z.beyond(view)
}

// beyond adds the networks that are reached from those of a view.
func (z names) beyond(view []NetworkConfig) []NetworkConfig {
	for _, from := range slices.Clone(view) {
		for _, name := range from.reaches {
			is := func(n NetworkConfig) bool { return n.Name == name }
			if i := slices.IndexFunc(z.networks, is); i >= 0 && !slices.ContainsFunc(view, is) {
				view = append(view, z.networks[i])
			}
		}
	}
	return view
}

// lookup finds the addresses of a name that a guest at asker may know. Name is in lower case, without the final dot.
func (z names) lookup(name string, asker netip.Addr) []netip.Addr {
	name = strings.TrimSuffix(name, "."+domain)
	node, network, qualified := strings.Cut(name, ".")
	for _, n := range z.view(asker) {
		if qualified && n.Name != network {
			continue
		}
		if addr := addrOn(n, node); addr.IsValid() {
			return []netip.Addr{addr}
		}
	}
	return nil
}

func addrOn(n NetworkConfig, node string) netip.Addr {
	for _, hosts := range [][]Host{n.Hosts, n.routers} {
		for _, h := range hosts {
			if strings.EqualFold(h.Node, node) {
				return h.Addr
			}
		}
	}
	if node == gatewayName {
		return n.Gateway
	}
	return netip.Addr{}
}

// reverse finds the full name of an address that a guest at asker may know, or "".
func (z names) reverse(addr, asker netip.Addr) string {
	for _, n := range z.view(asker) {
		for _, h := range slices.Concat(n.Hosts, n.routers) {
			if h.Addr == addr {
				return h.Node + "." + n.Name + "." + domain
			}
		}
		if n.Gateway == addr {
			return gatewayName + "." + n.Name + "." + domain
		}
	}
	return ""
}

// owns reports whether only the lab can answer for a name, so that it is never asked outside: names without a dot, those
// in the lab's domain, and those that end in one of its networks.
func (z names) owns(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return true
	}
	last := name[dot+1:]
	return last == domain || slices.ContainsFunc(z.networks, func(n NetworkConfig) bool { return strings.EqualFold(n.Name, last) })
}

// ownsAddr is owns for the name of an address.
func (z names) ownsAddr(addr netip.Addr) bool {
	return addr.IsLoopback() || addr.IsLinkLocalUnicast() ||
		slices.ContainsFunc(z.networks, func(n NetworkConfig) bool { return n.Subnet.Contains(addr) })
}
