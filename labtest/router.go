package labtest

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"ionlab/internal/fabric"
	"ionlab/internal/fabric/nat"
	"ionlab/internal/lab"
	"ionlab/internal/topology"
)

// Router joins two networks of a lab. It is safe for concurrent use. What its methods change ends with the spec, the
// container or the suite in which it was changed: see the package documentation.
type Router struct {
	lab   *Lab
	inner *lab.Router
}

// NAT is how a router translates. FullCone, RestrictedCone, PortRestrictedCone, Symmetric and NoNAT make the usual
// ones, whose fields may be changed before they go to SetNAT.
type NAT = topology.NAT

// Forward is an entry of NAT.Forwards: a port of the router's outside address that always leads to one inside endpoint.
type Forward = topology.Forward

// Behaviour is what a NAT's mapping or filtering depends on (RFC 4787, sections 4.1 and 5).
type Behaviour = topology.Behaviour

// The behaviours of RFC 4787.
const (
	EndpointIndependent     = topology.EndpointIndependent
	AddressDependent        = topology.AddressDependent
	AddressAndPortDependent = topology.AddressAndPortDependent
)

// The choices of a NAT's outside ports, for NAT.Ports.
const (
	// PreservePorts takes the inside port where it is free.
	PreservePorts = topology.PreservePorts
	// RandomPorts takes any free port.
	RandomPorts = topology.RandomPorts
)

// Firewall is what a router lets in besides what its NAT lets in.
type Firewall = topology.Firewall

// The firewalls.
const (
	// OpenFirewall lets everything through.
	OpenFirewall = topology.FirewallNone
	// DropInbound drops what nobody inside has asked for, whatever the NAT's filtering; port forwards stay open.
	DropInbound = topology.FirewallDropInbound
)

// Mapping is an inside endpoint and the outside endpoint that the NAT gave it.
type Mapping = nat.Mapping

// RouterCounters are what a router has forwarded and dropped.
type RouterCounters = fabric.RouterCounters

// NoNAT lets addresses pass as they are.
func NoNAT() NAT { return natKind("none") }

// FullCone maps and filters independently of the peer (RFC 3489's name, as with the next three).
func FullCone() NAT { return natKind("full-cone") }

// RestrictedCone lets in who was sent something, from any port.
func RestrictedCone() NAT { return natKind("restricted-cone") }

// PortRestrictedCone lets in the endpoint that was sent something.
func PortRestrictedCone() NAT { return natKind("port-restricted-cone") }

// Symmetric maps each peer's endpoint apart, to a random port: what defeats hole punching.
func Symmetric() NAT { return natKind("symmetric") }

func natKind(name string) NAT {
	for _, kind := range topology.NATKinds() {
		if kind.Name == name {
			return kind.NAT
		}
	}
	return NAT{}
}

// Router returns a router by its name. An unknown name fails the spec and lists the names there are.
func (l *Lab) Router(name string) *Router {
	ginkgo.GinkgoHelper()
	inner, err := l.inner.Router(name)
	if err != nil {
		ginkgo.Fail(err.Error())
	}
	return &Router{l, inner}
}

// Name is the router's name in the topology.
func (r *Router) Name() string { return r.inner.Name() }

// Link is the router's link on one of its two networks. Another network fails the spec.
func (r *Router) Link(network string) *Link {
	ginkgo.GinkgoHelper()
	inner, err := r.inner.Link(network)
	if err != nil {
		ginkgo.Fail(err.Error())
	}
	return &Link{r.lab, inner}
}

// Links are the router's links: inside, then outside.
func (r *Router) Links() []*Link { return r.lab.links(r.inner.Links()) }

// NAT is how the router translates now.
func (r *Router) NAT() NAT { return r.inner.NAT() }

// SetNAT changes how the router translates, from the next packet on. Its mappings are forgotten if the mapping behaviour
// or the choice of ports changes, and live on otherwise.
func (r *Router) SetNAT(ctx context.Context, next NAT) error {
	ginkgo.GinkgoHelper()
	return r.lab.change(ctx, fmt.Sprintf("router %s: NAT %s", r.Name(), next), func(undo *lab.Undo) error {
		return r.inner.SetNAT(next, undo)
	})
}

// SetFirewall changes what the router lets in, from the next packet on.
func (r *Router) SetFirewall(ctx context.Context, next Firewall) error {
	ginkgo.GinkgoHelper()
	return r.lab.change(ctx, fmt.Sprintf("router %s: firewall %s", r.Name(), next), func(undo *lab.Undo) error {
		return r.inner.SetFirewall(next, undo)
	})
}

// Reset brings back what the topology says of the router and its two links.
func (r *Router) Reset(ctx context.Context) error {
	ginkgo.GinkgoHelper()
	return r.lab.change(ctx, "router "+r.Name()+": reset", r.inner.Reset)
}

// Mappings are the mappings of the router's NAT that live now.
func (r *Router) Mappings() ([]Mapping, error) {
	mappings, err := r.inner.Mappings()
	return mappings, hopeless(err)
}

// Counters are what the router has forwarded and dropped since the lab began.
func (r *Router) Counters() (RouterCounters, error) {
	counters, err := r.inner.Counters()
	return counters, hopeless(err)
}

// GomegaString says what the router does.
func (r *Router) GomegaString() string {
	return fmt.Sprintf("<router %s: NAT %s, firewall %s>", r.Name(), r.inner.NAT(), r.inner.Firewall())
}
