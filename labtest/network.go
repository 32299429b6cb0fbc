package labtest

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"ionlab/internal/lab"
)

// Network is one L2 segment of a lab. It is safe for concurrent use. What its methods change ends with the spec, the
// container or the suite in which it was changed: see the package documentation.
type Network struct {
	lab   *Lab
	inner *lab.Network
}

// Network returns a network by its name. An unknown name fails the spec and lists the names there are.
func (l *Lab) Network(name string) *Network {
	ginkgo.GinkgoHelper()
	inner, err := l.inner.Network(name)
	if err != nil {
		ginkgo.Fail(err.Error())
	}
	return &Network{l, inner}
}

// Name is the network's name in the topology.
func (n *Network) Name() string { return n.inner.Name() }

// Links are the network's links: of the nodes in the topology's order, then of the routers.
func (n *Network) Links() []*Link { return n.lab.links(n.inner.Links()) }

// Impair changes all links of the network, from the next frame on.
func (n *Network) Impair(ctx context.Context, i Impairment) error {
	ginkgo.GinkgoHelper()
	return n.lab.impair(ctx, "network "+n.Name(), n.inner.Links(), i)
}

// Reset brings all links of the network back to what the topology says, and up.
func (n *Network) Reset(ctx context.Context) error {
	ginkgo.GinkgoHelper()
	return n.lab.reset(ctx, "network "+n.Name(), n.inner.Links())
}

// Schedule plays timelines on all links of the network, until the end of what an Impair here would end with.
func (n *Network) Schedule(ctx context.Context, timelines ...Timeline) (*Schedule, error) {
	ginkgo.GinkgoHelper()
	return n.lab.schedule(ctx, "network "+n.Name(), n.inner.Links(), timelines)
}

// Measure measures all links of the network by probes of the fabric, without the guests. The error names each link that
// does not do what was asked of it.
func (n *Network) Measure(ctx context.Context) ([]Measurement, error) {
	return n.lab.measure(ctx, n.inner.Links())
}

// Capture writes all frames of the network's data path into a pcapng file among the artifacts of the spec, until the end
// of what an Impair here would end with. The report has the path. Each link is an interface of the file; the spec's
// steps and commands are comments in it.
func (n *Network) Capture(ctx context.Context) (*Capture, error) {
	ginkgo.GinkgoHelper()
	return n.lab.capture(ctx, n.Name(), n.inner.Capture)
}

// GomegaString is the network's name and subnet.
func (n *Network) GomegaString() string {
	return fmt.Sprintf("<network %s, %s>", n.Name(), n.inner.Spec().Subnet)
}
