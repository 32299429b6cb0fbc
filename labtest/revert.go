package labtest

import (
	"context"

	"github.com/onsi/ginkgo/v2"
)

// Snapshot saves the state of every node at one instant: memory with all processes, and disks. Revert returns to it. Every
// node has to run; it takes a few seconds, in which the nodes stand still. A later Snapshot replaces it.
func (l *Lab) Snapshot(ctx context.Context) error { return hopeless(l.inner.Snapshot(ctx)) }

// Revert returns every node to the last Snapshot, at one instant, also one that has died or was powered off since. Files,
// processes and memory are as they were then; the clock is right, and random numbers are new ones. Commands that run and
// connections that are open end with an error; the next operation connects anew. The routers have the mappings of then;
// conditions, partitions and links are left as they are: specs that change them change them back by themselves. When it
// fails every node is dead and says why.
func (l *Lab) Revert(ctx context.Context) error { return hopeless(l.inner.Revert(ctx)) }

// Beginning tells how the lab began: "warm start: ..." from a snapshot that an earlier run left, or "cold start: ..." with the
// reason.
func (l *Lab) Beginning() string { return l.inner.Beginning() }

// RevertEach gives every spec of its container (or file) a clean lab: before the first spec it takes a Snapshot of the labs
// that run then, and before each later one it reverts them. Specs of an Ordered container share one state. Write it where
// BeforeEach may stand, once:
//
//	var _ = labtest.RevertEach()
//
// It is about labs that were started before the first spec's BeforeEach, as in BeforeSuite; their state then, with all that
// was set up until then, is what each spec finds.
func RevertEach() bool {
	taken := map[*Lab]bool{}
	return ginkgo.BeforeEach(ginkgo.OncePerOrdered, func(ctx ginkgo.SpecContext) {
		for _, l := range labs.all() {
			verb, do := "revert", l.Revert
			if !taken[l] {
				verb, do = "snapshot", l.Snapshot
			}
			if err := do(ctx); err != nil {
				ginkgo.Fail("infrastructure: " + verb + ": " + err.Error())
			}
			taken[l] = true
		}
	})
}
