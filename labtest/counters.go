package labtest

import (
	"context"

	"ionlab/internal/fabric"
	"ionlab/internal/lab"
)

// Counters is what a link has carried and dropped since the lab began. Its frames of the control path, by which commands
// and files travel, are apart from the others.
type Counters = fabric.Counters

// Cause tells why a link dropped a frame.
type Cause = fabric.Cause

// The causes that Counters.Dropped may have.
const (
	Malformed    = fabric.Malformed    // no Ethernet frame
	Spoofed      = fabric.Spoofed      // claims to come from the lab itself
	Disconnected = fabric.Disconnected // for a guest that is off
	Overflow     = fabric.Overflow     // for a guest that does not read
	Lost         = fabric.Lost         // as the link's loss has it
	QueueFull    = fabric.QueueFull    // did not fit into the queue of the link's rate
	LinkDown     = fabric.LinkDown     // the link is down
	Partitioned  = fabric.Partitioned  // from a node that a partition cuts off
)

// Measurement is what the fabric's probes saw of one link.
type Measurement = fabric.Measurement

// Measure measures every link of the lab that has impairments, by probes of the fabric, without the guests. The error
// names each link that does not do what was asked of it.
func (l *Lab) Measure(ctx context.Context) ([]Measurement, error) {
	var impaired []*lab.Link
	for _, link := range l.inner.Links() {
		c, err := link.Conditions()
		if err != nil {
			return nil, hopeless(err)
		}
		if !c.Egress.IsZero() || !c.Ingress.IsZero() {
			impaired = append(impaired, link)
		}
	}
	if len(impaired) == 0 {
		return nil, nil
	}
	return l.measure(ctx, impaired)
}

func (l *Lab) measure(ctx context.Context, links []*lab.Link) ([]Measurement, error) {
	found, err := l.inner.Measure(ctx, links)
	return found, hopeless(err)
}
