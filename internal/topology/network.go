package topology

import "net/netip"

// Network is one L2 segment with an IPv4 subnet.
type Network struct {
	// Name is a DNS label.
	Name   string
	Subnet netip.Prefix
	// Gateway is the first usable address of Subnet and Control the last one; no node has them.
	Gateway, Control netip.Addr
	// Internet tells whether packets may leave the host.
	Internet bool
	// MTU is in bytes.
	MTU int
	// Conditions are what each link on the network starts with; Link.Conditions has them merged in.
	Conditions Conditions
}
