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
	store *snapshot.Store
	// bare is the snapshot of the provisioned machines, furnished that of what SetUp has made of them.
	bare, furnished source
	entry           *snapshot.Entry // what the machines came from; in use until the lab ends
	note            string          // how the lab began, in words
}

// source is a snapshot that a lab can begin from.
type source struct {
	inputs snapshot.Inputs
	draft  *snapshot.Draft // what the lab is going to fill
}

// Close gives up what the lab holds in the store.
func (w *warmth) Close() error {
	err := errors.Join(w.bare.draft.Close(), w.furnished.draft.Close(), w.entry.Close())
	w.bare.draft, w.furnished.draft, w.entry = nil, nil, nil
	return err
}

// isFurnished tells whether the lab began from what SetUp has made of an earlier one.
func (w *warmth) isFurnished() bool {
	return w.entry != nil && w.furnished.inputs != nil && w.entry.Manifest.Key == w.furnished.inputs.Key()
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

// note adds to how the lab began.
func (l *Lab) note(more string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warmth.note += more
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
	if err := l.nameSources(ctx); err != nil {
		return err
	}
	if w.store, err = openSnapshots(l.cfg.Dirs, l.account, l.log); err != nil {
		l.begins(coldStart, err.Error())
		return nil
	}
	if w.furnished.inputs != nil {
		why, err := l.openSnapshot(ctx, &w.furnished, l.makesFurnished())
		if err != nil || w.entry != nil {
			return err
		}
		l.tell(Event{Stage: "no set-up to begin with", Note: why})
	}
	return l.lookForBare(ctx)
}

// lookForBare finds the snapshot of the provisioned machines, or takes the lock under which it is made.
func (l *Lab) lookForBare(ctx context.Context) error {
	why, err := l.openSnapshot(ctx, &l.warmth.bare, l.makesBare())
	if err != nil || l.warmth.entry != nil {
		return err
	}
	l.begins(coldStart, why)
	return nil
}

func (l *Lab) makesFurnished() string {
	return fmt.Sprintf("sets up lab %s of topology %q, to make a snapshot of that", l.ID(), l.topo.Metadata.Name)
}

func (l *Lab) makesBare() string {
	return fmt.Sprintf("starts lab %s of topology %q cold, to make its snapshot", l.ID(), l.topo.Metadata.Name)
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

// openSnapshot takes the entry of a source into use, or its draft; then it says why there is no entry.
func (l *Lab) openSnapshot(ctx context.Context, from *source, doing string) (why string, err error) {
	w := &l.warmth
	if why, err = l.tryEntry(ctx, from); err != nil || w.entry != nil {
		return l.unlessRefused(why, err)
	}
	if err := l.beginDraft(ctx, from, doing); err != nil || from.draft == nil {
		return why, err
	}
	// Whoever held the lock before has probably filled it.
	again, err := l.tryEntry(ctx, from)
	if err != nil || w.entry != nil {
		err = errors.Join(err, from.draft.Close())
		from.draft = nil
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

// beginDraft takes the lock under which a snapshot is made, and waits for who has it. Where none can be made the lab starts
// without.
func (l *Lab) beginDraft(ctx context.Context, of *source, doing string) error {
	draft, err := l.warmth.store.Begin(ctx, of.inputs.Key(), doing, func(holder string) {
		l.tell(Event{Stage: "waiting for a snapshot", Note: holder})
		for _, node := range l.nodes {
			node.setStatus("waiting for a snapshot: " + holder)
		}
	})
	if err == nil {
		of.draft = draft
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	l.tell(Event{Stage: "no snapshot", Note: err.Error()})
	return nil
}

const noSnapshot = "there is no snapshot of this lab yet"

// tryEntry takes the entry of a source into use, and its identity with it. One that cannot be used is discarded.
func (l *Lab) tryEntry(ctx context.Context, from *source) (why string, err error) {
	w := &l.warmth
	entry, err := w.store.Get(ctx, from.inputs.Key())
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
	return errors.Join(err, w.store.Discard(ctx, from.inputs.Key())).Error(), nil
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
