package topology

import "net/netip"

// Network is one L2 segment with an IPv4 subnet.
type Network struct {
	// Name is a DNS label.
	Name   string
	Subnet netip.Prefix
	// Gateway is the first usable address of Subnet and Control the last one; no node and no router has them.
	Gateway, Control netip.Addr
	// DefaultVia is where nodes whose first network this is send what is for elsewhere: the inside address of the first
	// router that has the network inside, else Gateway.
	DefaultVia netip.Addr
	// Reaches names the networks that machines on this one have a route to, besides itself, in the order of the file.
	Reaches []string
	// Internet tells whether packets may leave the host.
	Internet bool
	// MTU is in bytes.
	MTU int
	// Capture tells whether the network's traffic is kept as an artifact of every run.
	Capture bool
	// Conditions are what each link on the network starts with; Link.Conditions has them merged in.
	Conditions Conditions
}
