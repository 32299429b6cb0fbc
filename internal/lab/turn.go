package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"ionlab/internal/lock"
	"ionlab/internal/poll"
)

// bootsAtOnce is how many nodes boot at the same time, of all labs that share a run folder: enough to keep the host's
// processors busy, and so few that each gets on. Ten machines that share two processors all the way reach sshd at the
// same time, and that is late: the processors' caches serve none of them.
func bootsAtOnce() int { return runtime.NumCPU() + 1 }

// turnEvery is how often a node looks whether it may boot.
const turnEvery = 100 * time.Millisecond

// turnDir is where all labs that share a run folder keep the leaves to boot.
func turnDir(dirs Dirs) string { return filepath.Join(dirs.Run, ".boots") }

// bootTurn is a node's leave to boot, a lock that its owner's end frees. Whoever has it gives it back when its guest lets
// somebody in: what its cloud-init runs from then on may wait for the other nodes.
type bootTurn struct{ held *lock.Lock }

// awaitBootTurn waits until few enough nodes boot.
func (n *Node) awaitBootTurn(ctx context.Context) (*bootTurn, error) {
	dir := turnDir(n.lab.cfg.Dirs)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	turn, told := &bootTurn{}, false
	if err := poll.Until(ctx, turnEvery, func(context.Context) (err error) {
		turn.held, err = freeTurn(dir, n.lab.limits.Boots)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, lock.ErrBusy):
			return poll.Stop(err)
		case !told:
			told = true
			n.setStatus("waiting for its turn to boot")
			n.lab.tell(Event{Node: n.Name(), Stage: "waiting for its turn to boot"})
		}
		return err
	}); err != nil {
		return nil, err
	}
	turn.held.Sign("lab " + n.lab.ID() + " boots node " + n.Name())
	return turn, nil
}

// freeTurn takes the first turn that nobody has; the error is lock.ErrBusy where there is none, with who has the last.
func freeTurn(dir string, turns int) (held *lock.Lock, err error) {
	for i := range turns {
		held, err = lock.Try(filepath.Join(dir, strconv.Itoa(i)), lock.Exclusive)
		if !errors.Is(err, lock.ErrBusy) {
			return held, err
		}
	}
	return nil, err
}

// end gives the turn to another node. It is idempotent.
func (t *bootTurn) end() { _ = t.held.Close() }
