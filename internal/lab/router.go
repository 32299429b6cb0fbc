package lab

import (
	"fmt"

	"ionlab/internal/fabric"
	"ionlab/internal/fabric/nat"
	"ionlab/internal/topology"
)

// Router joins two networks. It is safe for concurrent use.
type Router struct {
	lab  *Lab
	spec topology.Router

	// What the router does now, guarded by the lab's netMu.
	nat      topology.NAT
	firewall topology.Firewall
}

// Name is the router's name in the topology.
func (r *Router) Name() string { return r.spec.Name }

// Spec is what the topology says of the router.
func (r *Router) Spec() topology.Router { return r.spec }

// Links are the router's links: inside, then outside.
func (r *Router) Links() []*Link { return r.lab.linksOf(r.Name()) }

// Link is the router's link on a network. The error lists the two there are.
func (r *Router) Link(network string) (*Link, error) {
	return r.lab.linkOf("router", r.Name(), network)
}

// NAT is how the router translates now.
func (r *Router) NAT() topology.NAT {
	r.lab.netMu.Lock()
	defer r.lab.netMu.Unlock()
	return r.nat
}

// Firewall is what the router lets in now besides what its NAT does.
func (r *Router) Firewall() topology.Firewall {
	r.lab.netMu.Lock()
	defer r.lab.netMu.Unlock()
	return r.firewall
}

// SetNAT changes how the router translates. Where the mapping behaviour or the choice of ports changes, its mappings are
// forgotten.
func (r *Router) SetNAT(next topology.NAT, undo *Undo) error {
	r.lab.netMu.Lock()
	defer r.lab.netMu.Unlock()
	return r.change(next, r.firewall, undo)
}

// SetFirewall changes what the router lets in.
func (r *Router) SetFirewall(next topology.Firewall, undo *Undo) error {
	r.lab.netMu.Lock()
	defer r.lab.netMu.Unlock()
	return r.change(r.nat, next, undo)
}

// Reset brings back the topology's NAT and firewall, and its conditions on both links.
func (r *Router) Reset(undo *Undo) error {
	r.lab.netMu.Lock()
	err := r.change(r.spec.NAT, r.spec.Firewall, undo)
	r.lab.netMu.Unlock()
	if err != nil {
		return err
	}
	return r.lab.Reset(r.Links(), undo)
}

// change is called with netMu held.
func (r *Router) change(next topology.NAT, firewall topology.Firewall, undo *Undo) error {
	inner, err := r.wired()
	if err != nil {
		return err
	}
	cfg, err := natConfig(next, firewall)
	if err == nil {
		err = inner.SetNAT(cfg)
	}
	if err != nil {
		return fmt.Errorf("change router %q: %w", r.Name(), err)
	}
	nat, wall := r.nat, r.firewall
	undo.remember(undoKey{"nat", r.Name(), ""}, func() error {
		r.lab.netMu.Lock()
		defer r.lab.netMu.Unlock()
		return r.change(nat, wall, nil)
	})
	r.nat, r.firewall = next, firewall
	return nil
}

// Mappings are the mappings of the router's NAT that live now.
func (r *Router) Mappings() ([]nat.Mapping, error) {
	inner, err := r.wired()
	if err != nil {
		return nil, err
	}
	return inner.Mappings(), nil
}

// Counters are what the router has forwarded and dropped.
func (r *Router) Counters() (fabric.RouterCounters, error) {
	inner, err := r.wired()
	if err != nil {
		return fabric.RouterCounters{}, err
	}
	return inner.Counters(), nil
}

func (r *Router) wired() (*fabric.Router, error) {
	fab, err := r.lab.wired()
	if err != nil {
		return nil, fmt.Errorf("router %q: %w", r.Name(), err)
	}
	return fab.Router(r.Name())
}

// Routers are the lab's routers in the topology's order.
func (l *Lab) Routers() []*Router { return append([]*Router(nil), l.routers...) }

// Router finds a router by name. The error lists the names there are.
func (l *Lab) Router(name string) (*Router, error) {
	var known []string
	for _, router := range l.routers {
		if router.Name() == name {
			return router, nil
		}
		known = append(known, router.Name())
	}
	return nil, fmt.Errorf("lab %q has no router %q; it has %q", l.topo.Metadata.Name, name, known)
}
