package labtest

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"ionlab/internal/lab"
)

// Partition cuts groups of nodes off from each other, in both directions, on all networks and across routers and NAT.
// Two nodes that are named reach each other only if they stand in one group together, so overlapping groups make a
// bridge. Who is not named reaches everybody; one group alone is cut off from all other nodes. Cuts add up until Heal, or
// until the end of the spec, container or suite in which they were made.
func (l *Lab) Partition(ctx context.Context, groups ...[]string) error {
	ginkgo.GinkgoHelper()
	return l.change(ctx, fmt.Sprintf("partition %v", groups), func(undo *lab.Undo) error { return l.inner.Partition(groups, undo) })
}

// PartitionOneWay keeps what the nodes in from send away from those in to; the other way stays open.
func (l *Lab) PartitionOneWay(ctx context.Context, from, to []string) error {
	ginkgo.GinkgoHelper()
	return l.change(ctx, fmt.Sprintf("partition %v from %v", to, from), func(undo *lab.Undo) error {
		return l.inner.PartitionOneWay(from, to, undo)
	})
}

// Heal ends all partitions. Links that are down stay down.
func (l *Lab) Heal(ctx context.Context) error {
	ginkgo.GinkgoHelper()
	return l.change(ctx, "heal", l.inner.Heal)
}
