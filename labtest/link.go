package labtest

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"ionlab/internal/lab"
)

// Link is one node's or router's port on one network. It is safe for concurrent use. What its methods change ends with
// the spec, the container or the suite in which it was changed: see the package documentation. The control path, by which
// commands and files travel, is not touched by any of it.
type Link struct {
	lab   *Lab
	inner *lab.Link
}

// Link is the node's link on a network. A network that the node is not on fails the spec.
func (n *Node) Link(network string) *Link {
	ginkgo.GinkgoHelper()
	inner, err := n.inner.Link(network)
	if err != nil {
		ginkgo.Fail(err.Error())
	}
	return &Link{n.lab, inner}
}

// Links are the node's links in the topology's order.
func (n *Node) Links() []*Link { return n.lab.links(n.inner.Links()) }

// Impair changes all links of the node, from the next frame on.
func (n *Node) Impair(ctx context.Context, i Impairment) error {
	ginkgo.GinkgoHelper()
	return n.lab.impair(ctx, n.Name(), n.inner.Links(), i)
}

// Name says whose link it is and where, as in "alice@wan".
func (k *Link) Name() string { return k.inner.Owner() + "@" + k.inner.Network() }

// Impair changes the link, from the next frame on.
func (k *Link) Impair(ctx context.Context, i Impairment) error {
	ginkgo.GinkgoHelper()
	return k.lab.impair(ctx, k.Name(), k.one(), i)
}

// Reset brings the link back to what the topology says, and up.
func (k *Link) Reset(ctx context.Context) error {
	ginkgo.GinkgoHelper()
	return k.lab.reset(ctx, k.Name(), k.one())
}

// Down cuts the link. The guest's network card keeps its carrier, as if the cable were cut behind the next switch.
func (k *Link) Down(ctx context.Context) error {
	ginkgo.GinkgoHelper()
	return k.lab.change(ctx, k.Name()+": down", k.inner.Down)
}

// Up mends the link.
func (k *Link) Up(ctx context.Context) error {
	ginkgo.GinkgoHelper()
	return k.lab.change(ctx, k.Name()+": up", k.inner.Up)
}

// Schedule plays timelines on the link, until the end of what an Impair here would end with.
func (k *Link) Schedule(ctx context.Context, timelines ...Timeline) (*Schedule, error) {
	ginkgo.GinkgoHelper()
	return k.lab.schedule(ctx, k.Name(), k.one(), timelines)
}

// Counters are what the link has carried and dropped since the lab began.
func (k *Link) Counters() (Counters, error) {
	counters, err := k.inner.Counters()
	return counters, hopeless(err)
}

// Measure measures the link by probes of the fabric, without the guest. The error says what is not as it was asked.
func (k *Link) Measure(ctx context.Context) ([]Measurement, error) {
	return k.lab.measure(ctx, k.one())
}

// Capture is Network.Capture for this link alone.
func (k *Link) Capture(ctx context.Context) (*Capture, error) {
	ginkgo.GinkgoHelper()
	return k.lab.capture(ctx, k.inner.Owner()+"-"+k.inner.Network(), k.inner.Capture)
}

// GomegaString says what the link does to frames.
func (k *Link) GomegaString() string { return fmt.Sprintf("<link %s: %s>", k.Name(), k.inner.State()) }

func (k *Link) one() []*lab.Link { return []*lab.Link{k.inner} }

func (l *Lab) links(inner []*lab.Link) []*Link {
	links := make([]*Link, len(inner))
	for i, k := range inner {
		links[i] = &Link{l, k}
	}
	return links
}

func (l *Lab) impair(ctx context.Context, what string, links []*lab.Link, i Impairment) error {
	ginkgo.GinkgoHelper()
	return l.change(ctx, fmt.Sprintf("%s: impair %s", what, i), func(undo *lab.Undo) error {
		return l.inner.Impair(links, i.change(), undo)
	})
}

func (l *Lab) reset(ctx context.Context, what string, links []*lab.Link) error {
	ginkgo.GinkgoHelper()
	return l.change(ctx, what+": reset", func(undo *lab.Undo) error { return l.inner.Reset(links, undo) })
}

// change does something to the networks that is undone by itself, and notes it in the captures.
func (l *Lab) change(ctx context.Context, note string, do func(*lab.Undo) error) error {
	ginkgo.GinkgoHelper()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", note, context.Cause(ctx))
	}
	err := do(l.undo(ctx))
	if err == nil {
		l.comment(note)
	}
	return hopeless(err)
}
