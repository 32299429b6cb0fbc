package lab

import (
	"context"
	"fmt"
	"io"
	"strings"

	"ionlab/internal/fabric"
	"ionlab/internal/topology"
)

// Network is one L2 segment of a lab. It is safe for concurrent use.
type Network struct {
	lab  *Lab
	spec topology.Network
}

// Name is the network's name in the topology.
func (n *Network) Name() string { return n.spec.Name }

// Spec is what the topology says of the network.
func (n *Network) Spec() topology.Network { return n.spec }

// Links are the network's links: those of nodes in the topology's order, then those of routers.
func (n *Network) Links() []*Link {
	var links []*Link
	for _, link := range n.lab.links {
		if link.network == n.spec.Name {
			links = append(links, link)
		}
	}
	return links
}

// Capture copies every frame of the network's data path to w, as pcapng, until it is closed.
func (n *Network) Capture(ctx context.Context, w io.Writer, opts fabric.CaptureOptions) (*fabric.Capture, error) {
	inner, err := n.wired()
	if err != nil {
		return nil, err
	}
	return inner.Capture(ctx, w, opts)
}

// Recent writes the last frames of the network to w, as pcapng.
func (n *Network) Recent(w io.Writer) error {
	inner, err := n.wired()
	if err != nil {
		return err
	}
	return inner.Recent(w)
}

func (n *Network) wired() (*fabric.Network, error) {
	fab, err := n.lab.wired()
	if err != nil {
		return nil, fmt.Errorf("network %q: %w", n.Name(), err)
	}
	return fab.Network(n.Name())
}

// Networks are the lab's networks in the topology's order.
func (l *Lab) Networks() []*Network { return append([]*Network(nil), l.networks...) }

// Network finds a network by name. The error lists the names there are.
func (l *Lab) Network(name string) (*Network, error) {
	var known []string
	for _, network := range l.networks {
		if network.Name() == name {
			return network, nil
		}
		known = append(known, network.Name())
	}
	return nil, fmt.Errorf("lab %q has no network %q; it has %q", l.topo.Metadata.Name, name, known)
}

// Links are all links of the lab: those of nodes in the topology's order, then those of routers.
func (l *Lab) Links() []*Link { return append([]*Link(nil), l.links...) }

// linksOf are the links of one node or router.
func (l *Lab) linksOf(owner string) []*Link {
	var links []*Link
	for _, link := range l.links {
		if link.owner == owner {
			links = append(links, link)
		}
	}
	return links
}

// linkOf finds a link by its owner and network. The error lists the networks that the owner is on.
func (l *Lab) linkOf(what, owner, network string) (*Link, error) {
	var known []string
	for _, link := range l.linksOf(owner) {
		if link.network == network {
			return link, nil
		}
		known = append(known, fmt.Sprintf("%q", link.network))
	}
	return nil, fmt.Errorf("%s %q is not on a network %q; it is on %s", what, owner, network, strings.Join(known, ", "))
}

// Links are the node's links in the topology's order.
func (n *Node) Links() []*Link { return n.lab.linksOf(n.Name()) }

// Link is the node's link on a network. The error lists the networks that the node is on.
func (n *Node) Link(network string) (*Link, error) { return n.lab.linkOf("node", n.Name(), network) }
