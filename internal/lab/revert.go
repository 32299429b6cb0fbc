package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ionlab/internal/fabric/nat"
)

// ErrReverted is wrapped by operations that the lab's return to its snapshot has cut off.
var ErrReverted = errors.New("the lab was reverted to its snapshot, and this had begun before")

// snapshots is what Snapshot keeps for Revert.
type snapshots struct {
	taken int // so far; each has files of its own
	last  *checkpoint
}

// Snapshot saves the state of all nodes at one instant: memory, processes and disks. Revert returns to it as often as
// wanted; a later Snapshot replaces it. The guests write to their disks first what is only in memory. Every node has to run.
// Commands over connections into the guests go on, but they are cut off by a Revert. The mappings of routers are part of it; conditions, partitions and the state of links are not.
// After an error the lab is dead: what could not be saved is lost.
func (l *Lab) Snapshot(ctx context.Context) error {
	if err := l.exclusive(ctx, l.snapshot); err != nil {
		return fmt.Errorf("snapshot of lab %s: %w", l.ID(), err)
	}
	return nil
}

// Revert returns all nodes to the last Snapshot, at one instant: disks, memory and processes are as they were then. The
// clock is right, and random numbers are new ones. Connections and commands that were open end with ErrReverted. After an
// error every node is dead, and says why: there is no half of a revert.
func (l *Lab) Revert(ctx context.Context) error {
	if err := l.exclusive(ctx, l.revert); err != nil {
		return fmt.Errorf("revert lab %s: %w", l.ID(), err)
	}
	return nil
}

// exclusive does something to the lab that nothing else of its kind may overlap. The end of the lab ends it.
func (l *Lab) exclusive(ctx context.Context, do func(context.Context) error) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	ctx, end, err := l.beginTurn(ctx)
	if err != nil {
		return err
	}
	defer end()
	return do(ctx)
}

// beginTurn makes Close end what is about to begin, and wait for it.
func (l *Lab) beginTurn(ctx context.Context) (context.Context, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil, ErrClosed
	case l.took == 0:
		return nil, nil, errors.New("the lab is not up")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	l.starting, l.stopStart = done, cancel
	return ctx, func() { cancel(nil); close(done) }, nil
}

func (l *Lab) snapshot(ctx context.Context) error {
	if err := l.allRun(); err != nil {
		return err
	}
	began := time.Now()
	if err := l.each(ctx, func(ctx context.Context, node *Node) error { return node.flush(ctx) }); err != nil {
		return err
	}
	dir := l.stateDir("snapshots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if err := l.giveToQEMU(dir); err != nil {
		return err
	}
	old := l.snapshots.last
	l.snapshots.taken++
	next := &checkpoint{nodes: map[string]savedNode{}}
	if err := l.take(ctx, next, filepath.Join(dir, fmt.Sprint(l.snapshots.taken))); err != nil {
		l.bury("its snapshot failed: " + err.Error())
		return err
	}
	l.snapshots.last = next
	l.tell(Event{Stage: "snapshot", Note: "taken in " + time.Since(began).Round(time.Millisecond).String()})
	return old.dropMemory()
}

// mappings are those of all routers, by name.
func (l *Lab) mappings() map[string][]nat.Mapping {
	all := map[string][]nat.Mapping{}
	for _, router := range l.fabric.Routers() {
		all[router.Name()] = router.Mappings()
	}
	return all
}

// allRun refuses to save a lab of which a node is off or paused.
func (l *Lab) allRun() error {
	for _, node := range l.nodes {
		if _, err := node.alive(); err != nil {
			return fmt.Errorf("every node has to run: %w", err)
		}
		if status, _ := node.Status(); status == string(Paused) {
			return fmt.Errorf("every node has to run: node %q is paused: Resume it first", node.Name())
		}
	}
	return nil
}

// take saves all nodes to files that begin with prefix, and lets them go on. The disk of each becomes the layer that its
// snapshot and its further life share.
func (l *Lab) take(ctx context.Context, into *checkpoint, prefix string) error {
	err := l.each(ctx, func(ctx context.Context, node *Node) error {
		life, err := node.alive()
		if err != nil {
			return err
		}
		node.setStatus("taking a snapshot")
		node.lag, err = node.measureLag(ctx, life)
		life.guest.DisconnectIdle()
		return err
	})
	if err != nil {
		return err
	}
	if err := pause(ctx, settleTime); err != nil {
		return err
	}
	name := func(node *Node, suffix string) string { return prefix + "-" + node.Name() + suffix }
	if into.paused, err = l.saveAll(ctx, func(node *Node) string { return name(node, "") }); err != nil {
		return err
	}
	into.mappings = l.mappings()
	for _, node := range l.nodes {
		saved := savedNode{
			state: name(node, stateSuffix), memory: ifThere(name(node, memorySuffix)), layer: name(node, layerSuffix), lag: node.lag,
		}
		if err := os.Rename(node.files.overlay, saved.layer); err != nil {
			return err
		}
		if exists(node.files.vars) {
			saved.vars = name(node, varsSuffix)
			if err := l.copyFileTo(node.files.vars, saved.vars); err != nil {
				return err
			}
		}
		into.nodes[node.Name()] = saved
	}
	return l.goOn(ctx, *into)
}

func (l *Lab) revert(ctx context.Context) error {
	to := l.snapshots.last
	if to == nil {
		return errors.New("there is no snapshot to go back to: call Snapshot first")
	}
	began := time.Now()
	err := l.each(ctx, func(ctx context.Context, node *Node) error { return node.drop(ctx) })
	if err == nil {
		l.fabric.Discard() // what is on its way was sent in a time that will not have been
		err = l.goOn(ctx, *to)
	}
	if err != nil {
		l.bury("its revert failed: " + err.Error())
		return err
	}
	l.tell(Event{Stage: "reverted", Note: "in " + time.Since(began).Round(time.Millisecond).String()})
	return nil
}

// goOn starts all nodes from a saved state and announces them.
func (l *Lab) goOn(ctx context.Context, from checkpoint) error {
	if err := l.thaw(ctx, from); err != nil {
		return err
	}
	l.allReady()
	return nil
}

// drop ends the node's machine for a revert, whatever state it is in. What waits for its guest ends with ErrReverted.
func (n *Node) drop(ctx context.Context) error {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil {
		return nil
	}
	n.setStatus("reverting")
	l.hold(true)
	l.expect(true)
	l.die(fmt.Errorf("node %q: %w", n.Name(), ErrReverted))
	return n.stop(ctx, PowerOff, "reverting")
}

// bury ends every machine after a failed snapshot or revert, and leaves its node dead with that cause.
func (l *Lab) bury(cause string) {
	for _, node := range l.nodes {
		node.bury(cause)
	}
}

func (n *Node) bury(cause string) {
	n.mu.Lock()
	l := n.life
	if l == nil {
		l = newLife()
		l.end()
		n.life = l
	}
	n.mu.Unlock()
	defer l.giveBack()
	l.expect(true)
	n.kill(l, cause)
	if machine := l.domain(); machine != nil {
		ctx, cancel := context.WithTimeout(context.Background(), buryLimit) //nolint:forbidigo // ctx may be what failed it.
		defer cancel()
		if err := machine.Do(ctx, PowerOff); err != nil {
			n.lab.log.Warn("end the machine of a node that could not be reverted", "node", n.Name(), "err", err)
		}
	}
}

// buryLimit bounds the end of a machine. What is still there then ends with the lab.
const buryLimit = 10 * time.Second

// dropMemory removes what only a revert to the checkpoint needs. Its disks are below those of the lab.
func (c *checkpoint) dropMemory() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, node := range c.nodes {
		for _, path := range []string{node.state, node.memory} {
			if err := os.RemoveAll(path); err != nil { // empty where the state has the memory
				errs = append(errs, fmt.Errorf("remove an old snapshot: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}
