package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"ionlab/internal/seed"
	"ionlab/internal/snapshot"
)

// warmth is how a lab begins: from a snapshot that an earlier one left, or cold, and then it leaves one.
type warmth struct {
	store  *snapshot.Store
	inputs snapshot.Inputs
	entry  *snapshot.Entry // what the machines came from; in use until the lab ends
	draft  *snapshot.Draft // what a cold start is going to fill
	note   string          // how the lab began, in words
}

// Close gives up what the lab holds in the store.
func (w *warmth) Close() error {
	err := errors.Join(w.draft.Close(), w.entry.Close())
	w.draft, w.entry = nil, nil
	return err
}

// Beginning says in words whether the lab started warm, and if not, why; empty before that is known.
func (l *Lab) Beginning() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warmth.note
}

func (l *Lab) begins(kind, why string) {
	l.mu.Lock()
	l.warmth.note = kind + ": " + why
	l.mu.Unlock()
	l.tell(Event{Stage: kind, Note: why})
}

// The two ways to begin.
const (
	coldStart = "cold start"
	warmStart = "warm start"
)

// wantsWarm tells whether snapshots may be used; if not, why.
func (l *Lab) wantsWarm() (bool, string, error) {
	switch value := os.Getenv("LABTEST_WARM"); value {
	case "off":
		return false, "LABTEST_WARM=off", nil
	case "", "on":
	default:
		return false, "", fmt.Errorf("LABTEST_WARM=%q: want on or off", value)
	}
	if l.cfg.ColdStart {
		return false, "asked for", nil
	}
	return true, "", nil
}

// lookForSnapshot finds the snapshot that the lab can start from. Without one it takes the lock under which this lab is
// going to make it; while another owner holds that, it waits for its snapshot.
func (l *Lab) lookForSnapshot(ctx context.Context) error {
	want, why, err := l.wantsWarm()
	if err != nil {
		return err
	}
	if !want {
		l.begins(coldStart, why)
		return nil
	}
	w := &l.warmth
	if w.inputs, err = l.snapshotInputs(ctx); err != nil {
		return err
	}
	if w.store, err = openSnapshots(l.cfg.Dirs, l.account, l.log); err != nil {
		l.begins(coldStart, err.Error())
		return nil
	}
	why, err = l.openSnapshot(ctx)
	if err != nil || w.entry != nil {
		return err
	}
	l.begins(coldStart, why)
	return nil
}

// OpenSnapshots opens the store of the snapshots that labs leave, with the rights of the user that runs QEMU.
func OpenSnapshots(dirs Dirs, log *slog.Logger) (*snapshot.Store, error) {
	account, err := QEMUAccount()
	if err != nil {
		return nil, err
	}
	if err := dirs.create(); err != nil {
		return nil, err
	}
	return openSnapshots(dirs, account, log)
}

func openSnapshots(dirs Dirs, account *Account, log *slog.Logger) (*snapshot.Store, error) {
	cfg := snapshot.Config{Dir: filepath.Join(dirs.Cache, "snapshots"), Log: log}
	if account != nil {
		cfg.Owner = &snapshot.Owner{UID: account.UID, GID: account.GID}
	}
	return snapshot.Open(cfg)
}

// openSnapshot takes the entry of the lab's key into use, or its draft; then it says why there is no entry.
func (l *Lab) openSnapshot(ctx context.Context) (why string, err error) {
	w := &l.warmth
	if why, err = l.tryEntry(ctx); err != nil || w.entry != nil {
		return why, err
	}
	doing := fmt.Sprintf("starts lab %s of topology %q cold, to make its snapshot", l.ID(), l.topo.Metadata.Name)
	w.draft, err = w.store.Begin(ctx, w.inputs.Key(), doing, func(holder string) {
		l.tell(Event{Stage: "waiting for a snapshot", Note: holder})
		for _, node := range l.nodes {
			node.setStatus("waiting for a snapshot: " + holder)
		}
	})
	if err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return why + "; and none can be made: " + err.Error(), nil
	}
	// Whoever held the lock before has probably filled it.
	again, err := l.tryEntry(ctx)
	if err == nil && w.entry != nil {
		err = w.draft.Close()
		w.draft = nil
	}
	if again != noSnapshot {
		why = again
	}
	return why, err
}

const noSnapshot = "there is no snapshot of this lab yet"

// tryEntry takes the entry of the lab's key into use, and its identity with it. A damaged one is discarded.
func (l *Lab) tryEntry(ctx context.Context) (why string, err error) {
	w := &l.warmth
	entry, err := w.store.Get(ctx, w.inputs.Key())
	if err == nil {
		if err := l.adopt(entry.Manifest); err == nil {
			w.entry = entry
			return "", nil
		} else if closeErr := entry.Close(); closeErr != nil {
			return "", errors.Join(err, closeErr)
		}
	}
	switch {
	case errors.Is(err, snapshot.ErrAbsent):
		return noSnapshot, nil
	case ctx.Err() != nil:
		return "", err
	}
	if discardErr := w.store.Discard(ctx, w.inputs.Key()); discardErr != nil {
		err = errors.Join(err, discardErr)
	}
	return err.Error(), nil
}

// adopt makes the lab's nodes known by what the snapshot's guests have in their memory.
func (l *Lab) adopt(m *snapshot.Manifest) error {
	signer, err := ssh.ParsePrivateKey([]byte(m.ClientKey.Private))
	if err != nil {
		return fmt.Errorf("snapshot %s: read its key: %w", snapshot.Short(m.Key), err)
	}
	if len(m.Nodes) != len(l.nodes) {
		return fmt.Errorf("snapshot %s has %d nodes, the topology %d", snapshot.Short(m.Key), len(m.Nodes), len(l.nodes))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, node := range l.nodes {
		from := m.Nodes[i]
		if from.Name != node.Name() {
			return fmt.Errorf("snapshot %s has node %q where the topology has %q", snapshot.Short(m.Key), from.Name, node.Name())
		}
		node.uuid, node.instance, node.hostKey = from.UUID, from.InstanceID, seed.HostKey(from.HostKey)
	}
	l.key, l.signer = seed.ClientKey(m.ClientKey), signer
	return nil
}

// bring brings every node up, warm if it can, and copies what the topology deploys.
func (l *Lab) bring(ctx context.Context) error {
	w := &l.warmth
	if w.entry == nil {
		return l.bootCold(ctx)
	}
	err := l.thawChecked(ctx, w.entry)
	if err == nil {
		age := time.Since(w.entry.Manifest.Created).Round(time.Second)
		l.begins(warmStart, fmt.Sprintf("snapshot %s, made %s ago", snapshot.Short(w.entry.Manifest.Key), age))
		return l.furnish(ctx)
	}
	if ctx.Err() != nil || l.isClosed() {
		return err
	}
	why := err.Error()
	var damaged *snapshot.DamagedError
	if !errors.As(err, &damaged) {
		why = "the snapshot does not work here: " + why
	}
	if err := l.startOver(ctx, why); err != nil {
		return err
	}
	if _, err := l.openSnapshot(ctx); err != nil {
		return err
	}
	if w.entry == nil {
		return l.bootCold(ctx)
	}
	// Another owner has made a new one meanwhile. One warm start that failed is enough.
	if err := l.startOver(ctx, why); err != nil {
		return err
	}
	return l.bootCold(ctx)
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
	err := l.thaw(starting, checkpointOf(entry))
	if damage := <-checked; damage != nil {
		return damage
	}
	return err
}

// bootCold boots every node from its image. Where the lab makes a snapshot, it is made of all nodes when the last one is
// provisioned, and the lab goes on from it: so it is known to work before anybody else uses it.
func (l *Lab) bootCold(ctx context.Context) error {
	if l.warmth.draft == nil {
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
	err := l.freeze(ctx)
	if err != nil {
		if ctx.Err() != nil || l.isClosed() {
			return err
		}
		if err := l.startOver(ctx, "no snapshot could be made: "+err.Error()); err != nil {
			return err
		}
		return l.bootCold(ctx)
	}
	return l.furnish(ctx)
}

// startOver removes the machines of a start that did not work out, so that the nodes can boot cold under a new identity.
func (l *Lab) startOver(ctx context.Context, why string) error {
	l.begins(coldStart, why)
	w := &l.warmth
	used := w.entry != nil
	if err := w.Close(); err != nil {
		return fmt.Errorf("give up the snapshot: %w", err)
	}
	if used {
		if err := w.store.Discard(ctx, w.inputs.Key()); err != nil {
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
	if err := n.PowerOff(ctx); err != nil {
		return err
	}
	n.files.seed = n.ownSeed()
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

// each does something to all nodes at once. The first failure ends the rest.
func (l *Lab) each(ctx context.Context, do func(context.Context, *Node) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range l.nodes {
		group.Go(func() error { return do(ctx, node) })
	}
	return group.Wait()
}
