package topology

import (
	"net"
	"net/netip"
)

// Router joins two networks. It is part of the fabric, not a machine.
//
// Nodes whose first network is Inside have their default route through the first router that has it inside. The
// router's own default route leads over Outside.
type Router struct {
	// Name is a DNS label; no node has it.
	Name     string
	NAT      NAT
	Firewall Firewall
	// Inside and Outside are its ports on two different networks.
	Inside, Outside Interface
}

// Interface is a router's port on one network.
type Interface struct {
	// Network is the name of the network.
	Network string
	// Addr is the router's address with the length of the network's prefix.
	Addr netip.Prefix
	// MAC is unicast, locally administered, different for each link of the topology and the same for each run.
	MAC net.HardwareAddr
	// Conditions are merged: the network's, then the router's, then the port's own. Egress is what the router sends into
	// the network.
	Conditions Conditions
	// Routes are the networks behind other routers on Network. On the outside the last one is the default route, 0.0.0.0/0.
	Routes []Route
}

// Route says through which address of its own network a machine or a router reaches another network.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Firewall is what a router lets in besides what its NAT lets in.
type Firewall string

// The firewalls of a router.
const (
	// FirewallNone lets everything through.
	FirewallNone Firewall = "none"
	// FirewallDropInbound drops what comes from outside without having been asked for from inside.
	FirewallDropInbound Firewall = "drop-inbound"
)

func firewalls() []string { return []string{string(FirewallNone), string(FirewallDropInbound)} }
