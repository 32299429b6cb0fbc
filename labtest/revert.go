package labtest

import (
	"context"
	"maps"
	"slices"

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
	taken := snapshotsTaken[*Lab]{}
	return ginkgo.BeforeEach(ginkgo.OncePerOrdered, func(ctx ginkgo.SpecContext) {
		if err := taken.next(ctx, labs.all()); err != nil {
			ginkgo.Fail("infrastructure: no clean lab for this spec: " + err.Error())
		}
	})
}

// revertible is what RevertEach needs of a lab.
type revertible interface {
	comparable
	Snapshot(ctx context.Context) error
	Revert(ctx context.Context) error
}

// snapshotsTaken are the labs that have one to go back to.
type snapshotsTaken[L revertible] map[L]bool

// next puts all labs into the state in which they were at its first call for each of them.
func (t snapshotsTaken[L]) next(ctx context.Context, living []L) error {
	for _, l := range living {
		do := l.Snapshot
		if t[l] {
			do = l.Revert
		}
		if err := do(ctx); err != nil {
			return err
		}
		t[l] = true
	}
	maps.DeleteFunc(t, func(l L, _ bool) bool { return !slices.Contains(living, l) })
	return nil
}
