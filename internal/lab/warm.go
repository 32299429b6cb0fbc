package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

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
		return l.unlessRefused(why, err)
	}
	if err := l.beginDraft(ctx); err != nil || w.draft == nil {
		return why, err
	}
	// Whoever held the lock before has probably filled it.
	again, err := l.tryEntry(ctx)
	if err != nil || w.entry != nil {
		err = errors.Join(err, w.draft.Close())
		w.draft = nil
		return l.unlessRefused(again, err)
	}
	if again != noSnapshot {
		why = again
	}
	return why, nil
}

// unlessRefused makes a reason of it that this lab could not be saved before.
func (l *Lab) unlessRefused(why string, err error) (string, error) {
	var refused *snapshot.RefusedError
	if errors.As(err, &refused) {
		return refused.Error(), nil
	}
	return why, err
}

// beginDraft takes the lock under which the lab's snapshot is made, and waits for who has it. Where none can be made the
// lab starts without.
func (l *Lab) beginDraft(ctx context.Context) error {
	w := &l.warmth
	doing := fmt.Sprintf("starts lab %s of topology %q cold, to make its snapshot", l.ID(), l.topo.Metadata.Name)
	draft, err := w.store.Begin(ctx, w.inputs.Key(), doing, func(holder string) {
		l.tell(Event{Stage: "waiting for a snapshot", Note: holder})
		for _, node := range l.nodes {
			node.setStatus("waiting for a snapshot: " + holder)
		}
	})
	if err == nil {
		w.draft = draft
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	l.tell(Event{Stage: "no snapshot", Note: err.Error()})
	return nil
}

const noSnapshot = "there is no snapshot of this lab yet"

// tryEntry takes the entry of the lab's key into use, and its identity with it. One that cannot be used is discarded.
func (l *Lab) tryEntry(ctx context.Context) (why string, err error) {
	w := &l.warmth
	entry, err := w.store.Get(ctx, w.inputs.Key())
	if err == nil {
		if err = l.adopt(entry.Manifest); err == nil {
			w.entry = entry
			return "", nil
		}
		err = errors.Join(err, entry.Close())
	}
	var refused *snapshot.RefusedError
	switch {
	case errors.Is(err, snapshot.ErrAbsent):
		return noSnapshot, nil
	case ctx.Err() != nil, errors.As(err, &refused):
		return "", err
	}
	return errors.Join(err, w.store.Discard(ctx, w.inputs.Key())).Error(), nil
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
