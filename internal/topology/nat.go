package topology

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// NAT is how a router translates addresses, in the terms of RFC 4787. The zero value is no translation.
type NAT struct {
	// Mapping says when two flows from one inside endpoint share an outside endpoint; empty is no NAT at all.
	Mapping Behaviour
	// Filtering says who may send to that outside endpoint.
	Filtering Behaviour
	// Ports says how the outside port is chosen.
	Ports PortChoice
	// Hairpin tells whether two nodes inside reach each other by their outside endpoints (RFC 4787, section 6).
	Hairpin bool
	// UDPTimeout and TCPTimeout are how long a mapping lives without traffic; TCPTimeout is for established connections.
	UDPTimeout, TCPTimeout time.Duration
	Forwards               []Forward
}

// Behaviour is a mapping or filtering behaviour of RFC 4787, sections 4.1 and 5.
type Behaviour string

// The behaviours of RFC 4787.
const (
	EndpointIndependent     Behaviour = "endpoint-independent"
	AddressDependent        Behaviour = "address-dependent"
	AddressAndPortDependent Behaviour = "address-and-port-dependent"
)

// PortChoice is how a NAT chooses outside ports.
type PortChoice string

// The choices of outside ports.
const (
	// PreservePorts takes the inside port where it is free (RFC 4787, section 4.2.1).
	PreservePorts PortChoice = "preserve"
	// RandomPorts takes any free port.
	RandomPorts PortChoice = "random"
)

// Forward is a port of the router's outside address that always leads to one inside endpoint.
type Forward struct {
	// Protocol is tcp or udp.
	Protocol string
	Port     uint16
	To       netip.AddrPort
}

// String returns the forward as a topology writes it.
func (f Forward) String() string {
	return f.Protocol + ":" + strconv.Itoa(int(f.Port)) + ":" + f.To.String()
}

// Time-outs of a NAT that the file says nothing about: what RFC 4787 (REQ-5) recommends and RFC 5382 (REQ-5) demands.
const (
	DefaultUDPTimeout = 5 * time.Minute
	DefaultTCPTimeout = 2*time.Hour + 4*time.Minute
)

// IsNone tells whether addresses pass as they are.
func (n NAT) IsNone() bool { return n.Mapping == "" }

// String returns the usual name of the NAT type, such as full-cone, or both behaviours where it has none.
func (n NAT) String() string {
	if n.IsNone() {
		return noNAT
	}
	for _, kind := range NATKinds() {
		if kind.NAT.Mapping == n.Mapping && kind.NAT.Filtering == n.Filtering {
			return kind.Name
		}
	}
	return string(n.Mapping) + " mapping, " + string(n.Filtering) + " filtering"
}

// NATKind is a usual name of a NAT type (RFC 3489, section 5) in the terms of RFC 4787.
type NATKind struct {
	Name string
	NAT  NAT
}

const noNAT = "none"

// NATKinds returns the names that a topology may give, from the most open to the most closed one.
func NATKinds() []NATKind {
	kind := func(name string, mapping, filtering Behaviour, ports PortChoice) NATKind {
		return NATKind{name, NAT{
			Mapping: mapping, Filtering: filtering, Ports: ports, Hairpin: true,
			UDPTimeout: DefaultUDPTimeout, TCPTimeout: DefaultTCPTimeout,
		}}
	}
	return []NATKind{
		{Name: noNAT},
		kind("full-cone", EndpointIndependent, EndpointIndependent, PreservePorts),
		kind("restricted-cone", EndpointIndependent, AddressDependent, PreservePorts),
		kind("port-restricted-cone", EndpointIndependent, AddressAndPortDependent, PreservePorts),
		kind("symmetric", AddressAndPortDependent, AddressAndPortDependent, RandomPorts),
	}
}

func natNames() []string {
	var names []string
	for _, kind := range NATKinds() {
		names = append(names, kind.Name)
	}
	return names
}

func findNAT(name string) (NAT, *complaint) {
	names := natNames()
	if i := slices.Index(names, name); i >= 0 {
		return NATKinds()[i].NAT, nil
	}
	return NAT{}, &complaint{quote(name) + " is not a kind of NAT", didYouMean(name, names)}
}

func behaviours() []string {
	return []string{string(EndpointIndependent), string(AddressDependent), string(AddressAndPortDependent)}
}

func portChoices() []string { return []string{string(PreservePorts), string(RandomPorts)} }
