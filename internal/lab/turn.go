package lab

import (
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

// bootsAtOnce is how many nodes of a lab boot at the same time: enough to keep the host's processors busy, and so few that
// each gets on. Ten machines that share two processors all the way reach sshd at the same time, and that is late.
func bootsAtOnce() int { return max(4, 2*runtime.NumCPU()) }

// bootTurn is a node's leave to boot. Whoever has it gives it back when its guest lets somebody in: what its cloud-init runs
// from then on may wait for the other nodes.
type bootTurn struct{ turns *semaphore.Weighted }

// awaitBootTurn waits until few enough nodes boot, in the order of asking.
func (n *Node) awaitBootTurn(ctx context.Context) (*bootTurn, error) {
	turns := n.lab.bootTurns
	if !turns.TryAcquire(1) {
		n.setStatus("waiting for its turn to boot")
		n.lab.tell(Event{Node: n.Name(), Stage: "waiting for its turn to boot"})
		if err := turns.Acquire(ctx, 1); err != nil {
			return nil, context.Cause(ctx)
		}
	}
	return &bootTurn{turns}, nil
}

// end gives the turn to the next node. It is idempotent.
func (t *bootTurn) end() {
	if t.turns != nil {
		t.turns.Release(1)
		t.turns = nil
	}
}
