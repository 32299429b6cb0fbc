package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"ionlab/internal/snapshot"
)

// bring brings every node up, warm if it can, and copies what the topology deploys, unless it is there already.
func (l *Lab) bring(ctx context.Context) error {
	w := &l.warmth
	if w.entry == nil {
		return l.bootCold(ctx)
	}
	err := l.thawChecked(ctx, w.entry)
	if err == nil {
		return l.goOnWarm(ctx)
	}
	if l.isOver(ctx) {
		return err
	}
	why := err.Error()
	var damaged *snapshot.DamagedError
	if !errors.As(err, &damaged) {
		why = "the snapshot does not work here: " + why
	}
	if w.isFurnished() {
		if err := l.startOver(ctx, why, &w.furnished); err != nil {
			return err
		}
		if err := l.beginDraft(ctx, &w.furnished, l.makesFurnished()); err != nil {
			return err
		}
		return l.bringBare(ctx)
	}
	if err := l.startOver(ctx, why, &w.bare); err != nil {
		return err
	}
	if err := l.beginDraft(ctx, &w.bare, l.makesBare()); err != nil {
		return err
	}
	// Another owner may have made a new one meanwhile. It is left alone: one warm start that failed is enough.
	if entry, err := w.store.Get(ctx, w.bare.inputs.Key()); err == nil {
		if err := errors.Join(entry.Close(), w.bare.draft.Close()); err != nil {
			return err
		}
		w.bare.draft = nil
	}
	return l.bootCold(ctx)
}

// goOnWarm finishes a warm start.
func (l *Lab) goOnWarm(ctx context.Context) error {
	from := l.warmth.entry.Manifest
	name := snapshot.Short(from.Key)
	age := time.Since(from.Created).Round(time.Second)
	if l.warmth.isFurnished() {
		l.begins(warmStart, fmt.Sprintf("snapshot %s, set up already, made %s ago", name, age))
		l.allReady()
		return nil
	}
	l.begins(warmStart, fmt.Sprintf("snapshot %s, made %s ago", name, age))
	return l.furnish(ctx)
}

// thawChecked starts the nodes from an entry while its files are read and compared: both take their time. Damage ends the
// start, and explains whatever else went wrong.
func (l *Lab) thawChecked(ctx context.Context, entry *snapshot.Entry) error {
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	checked := make(chan error, 1)
	go func() {
		err := entry.Check(ctx)
		if err != nil {
			cancel(err)
		}
		checked <- err
	}()
	from, err := checkpointOf(entry)
	if err == nil {
		err = l.thaw(starting, from)
	}
	if damage := <-checked; damage != nil {
		return damage
	}
	return err
}

// bootCold boots every node from its image. Where the lab makes a snapshot, it is made of all nodes when the last one is
// provisioned, and the lab goes on from it: so it is known to work before anybody else uses it.
func (l *Lab) bootCold(ctx context.Context) error {
	if l.warmth.bare.draft == nil {
		return l.each(ctx, func(ctx context.Context, node *Node) error {
			if err := node.start(ctx); err != nil {
				return err
			}
			return node.furnish(ctx)
		})
	}
	if err := l.each(ctx, func(ctx context.Context, node *Node) error { return node.start(ctx) }); err != nil {
		return err
	}
	if err := l.readyToFreeze(ctx); err != nil {
		if l.isOver(ctx) {
			return err
		}
		// Nothing has happened to the machines: they go on as they are.
		l.tell(Event{Stage: "no snapshot", Note: err.Error()})
		if err := l.warmth.Close(); err != nil {
			return err
		}
		return l.furnish(ctx)
	}
	err := l.freeze(ctx, &l.warmth.bare, "warm")
	if err == nil {
		return l.furnish(ctx)
	}
	if l.isOver(ctx) {
		return err
	}
	why := "no snapshot could be made: " + err.Error()
	l.refuse(&l.warmth.bare, why)
	if err := l.startOver(ctx, why, &l.warmth.bare); err != nil {
		return err
	}
	return l.bootCold(ctx)
}

// refuse has later starts not try again what cannot be saved, unless it is for want of room, which may be there next time.
func (l *Lab) refuse(what *source, why string) {
	if l.roomForSnapshot() != nil {
		return
	}
	if err := l.warmth.store.Refuse(what.inputs.Key(), why); err != nil {
		l.tell(Event{Stage: "no snapshot", Note: err.Error()}) // the next start tries in vain, that is all
	}
}

// startOver removes the machines of a start that did not work out, so that the nodes can begin under a new identity. The snapshot
// that is to blame is discarded, if they came from it.
func (l *Lab) startOver(ctx context.Context, why string, blame *source) error {
	l.begins(coldStart, why)
	w := &l.warmth
	used := w.entry != nil && w.entry.Manifest.Key == blame.inputs.Key()
	if err := w.Close(); err != nil {
		return fmt.Errorf("give up the snapshot: %w", err)
	}
	if used {
		if err := w.store.Discard(ctx, blame.inputs.Key()); err != nil {
			return err
		}
	}
	if err := l.each(ctx, func(ctx context.Context, node *Node) error { return node.wipe(ctx) }); err != nil {
		return err
	}
	if err := l.renew(); err != nil {
		return err
	}
	return l.writeSSHConfig()
}

// wipe removes the node's domain and disks.
func (n *Node) wipe(ctx context.Context) error {
	n.mu.Lock()
	if n.life != nil {
		n.life.giveBack() // of a save that came to nothing
	}
	n.mu.Unlock()
	if err := n.PowerOff(ctx); err != nil {
		return err
	}
	n.files.seed = n.ownSeed()
	n.setProvisioned(false)
	for _, path := range []string{n.files.overlay, n.files.seed, n.files.vars} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the disks of node %q: %w", n.Name(), err)
		}
	}
	return nil
}

// renew draws a new identity of the lab.
func (l *Lab) renew() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{l.makeKeys()}
	for _, node := range l.nodes {
		errs = append(errs, node.makeIdentity())
	}
	return errors.Join(errs...)
}

// furnish copies what the topology deploys into every node.
func (l *Lab) furnish(ctx context.Context) error {
	return l.each(ctx, func(ctx context.Context, node *Node) error { return node.furnish(ctx) })
}

// allReady announces every node.
func (l *Lab) allReady() {
	for _, node := range l.nodes {
		node.ready()
	}
}

// each does something to all nodes at once. The first failure ends the rest.
func (l *Lab) each(ctx context.Context, do func(context.Context, *Node) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range l.nodes {
		group.Go(func() error { return do(ctx, node) })
	}
	return group.Wait()
}
