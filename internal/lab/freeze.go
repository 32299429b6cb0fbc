package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ionlab/internal/guest"
	"ionlab/internal/snapshot"
)

// settleTime is what a guest gets to end its side of the connections that were closed before it is paused.
const settleTime = 500 * time.Millisecond

// readyToFreeze finds out whether the lab can be saved and restored, and prepares its guests for it.
func (l *Lab) readyToFreeze(ctx context.Context) error {
	if err := errors.Join(l.allRun(), l.roomForSnapshot()); err != nil {
		return err
	}
	l.tell(Event{Stage: "making a snapshot"})
	return l.each(ctx, func(ctx context.Context, node *Node) error { return node.calm(ctx) })
}

// freeze turns the lab as it is into a snapshot and lets it go on from there.
func (l *Lab) freeze(ctx context.Context, into *source, promise string) error {
	w := &l.warmth
	began := time.Now()
	paused, err := l.saveAll(ctx, func(node *Node) string { return into.draft.Path(node.Name()) })
	if err != nil {
		return err
	}
	if w.entry != nil { // the new one has to stand without it
		err := l.each(ctx, func(ctx context.Context, node *Node) error {
			return l.cfg.Host.Flatten(ctx, node.files.overlay, node.image.Disk, node.image.Format)
		})
		if err != nil {
			return err
		}
	}
	for _, node := range l.nodes {
		if err := node.putInto(ctx, into.draft); err != nil {
			return err
		}
	}
	manifest := l.manifest(into.inputs, paused)
	if into == &w.furnished { // before, nothing has come through a router that a guest would remember
		if manifest.Mappings, err = json.Marshal(l.mappings()); err != nil {
			return err
		}
	}
	entry, err := into.draft.Commit(ctx, manifest)
	if err != nil {
		return err
	}
	if err := errors.Join(w.entry.Close(), into.draft.Close()); err != nil {
		return fmt.Errorf("finish the snapshot: %w", errors.Join(err, entry.Close()))
	}
	w.entry, into.draft = entry, nil
	from, err := checkpointOf(entry)
	if err != nil {
		return err
	}
	if err := l.thaw(ctx, from); err != nil {
		return err
	}
	l.tell(Event{Stage: "snapshot", Note: fmt.Sprintf("%s, %d MB, in %s: the next start is %s", snapshot.Short(entry.Manifest.Key),
		entry.Manifest.Bytes()/1e6, time.Since(began).Round(100*time.Millisecond), promise)})
	return nil
}

// roomForSnapshot refuses to save what may not fit on the disk: the domain that is being saved then would be lost.
func (l *Lab) roomForSnapshot() error {
	need := int64(256 << 20)
	for _, node := range l.nodes {
		need += 2*int64(node.spec.MemoryMB)<<20 + usage(node.files.overlay) // for a moment its memory is there twice
	}
	if free := diskFree(l.cfg.Dirs.Cache); free < need {
		return fmt.Errorf("%s has %d MB left, and it may need %d", l.cfg.Dirs.Cache, free>>20, need>>20)
	}
	return nil
}

// calm prepares the guest for being saved: it can be woken, its clock is known, and no connection leads into it.
func (n *Node) calm(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	n.setStatus("making a snapshot")
	if err := n.flush(ctx); err != nil {
		return err
	}
	if n.lag, err = n.measureLag(ctx, l); err != nil {
		return fmt.Errorf("node %q: %w", n.Name(), err)
	}
	if err := n.rehearse(ctx, l); err != nil {
		return err
	}
	l.guest.Disconnect()
	return pause(ctx, settleTime)
}

// flush has the guest write to its disk what is only in its memory. A guest whose plug is pulled right after a restore
// would else boot from a disk on which what it had just made is empty, its SSH server's keys among them.
func (n *Node) flush(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	res, err := l.guest.Run(ctx, guest.Cmd{Argv: []string{"sync"}})
	if err != nil {
		return err
	}
	if res.ExitCode() != 0 {
		return fmt.Errorf("node %q: sync exited with %d: %s", n.Name(), res.ExitCode(), strings.TrimSpace(res.Stderr()))
	}
	return nil
}

// rehearse runs what wake needs: a guest that has none of it could never be woken, and what it reads from the disk is in
// memory for every restore to come.
//
// The guest's memory is saved as it is. To drop caches and fill free pages with zeros, which QEMU does not store, makes 129 MB of
// the 237 of a 512 MiB Debian, but takes 4 to 9 s of the guest's processor at the first start under emulation.
func (n *Node) rehearse(ctx context.Context, l *life) error {
	res, err := l.guest.Run(ctx, guest.Cmd{Shell: "perl -e exit || python3 -c 'import fcntl, struct'"})
	if err != nil {
		return err
	}
	if res.ExitCode() != 0 {
		return fmt.Errorf("node %q: its clock could not be set after a restore: it has neither perl nor python3", n.Name())
	}
	return nil
}

// putInto moves what a stopped node left on the host into the draft.
func (n *Node) putInto(ctx context.Context, draft *snapshot.Draft) error {
	draft.Mapped(n.Name() + memorySuffix)
	keepSeed := draft.Take
	if n.lab.warmth.entry != nil { // it belongs to that
		keepSeed = draft.Copy
	}
	// Images and snapshots may move together: a cache folder that is kept elsewhere between runs is still warm.
	if base, ok := draft.FromEntry(n.image.Disk); ok {
		if err := n.lab.cfg.Host.Rebase(ctx, n.files.overlay, base, n.image.Format); err != nil {
			return err
		}
	}
	if err := draft.Take(n.files.overlay, n.Name()+layerSuffix); err != nil {
		return err
	}
	if err := keepSeed(n.files.seed, n.Name()+seedSuffix); err != nil {
		return err
	}
	if exists(n.files.vars) {
		if err := draft.Copy(n.files.vars, n.Name()+varsSuffix); err != nil {
			return err
		}
	}
	return draft.Copy(n.files.log, n.Name()+consoleSuffix)
}

// manifest says what the snapshot's nodes are known by.
func (l *Lab) manifest(inputs snapshot.Inputs, paused time.Time) *snapshot.Manifest {
	m := &snapshot.Manifest{Topology: l.topo.Metadata.Name, Inputs: inputs, Paused: paused, ClientKey: snapshot.KeyPair(l.key)}
	for _, node := range l.nodes {
		from := snapshot.Node{
			Name: node.Name(), UUID: node.uuid, InstanceID: node.instanceID(), Nonce: node.uuid,
			HostKey: snapshot.KeyPair(node.hostKey), Lag: node.lag,
		}
		for _, link := range node.spec.Links {
			from.MACs = append(from.MACs, link.MAC.String())
		}
		m.Nodes = append(m.Nodes, from)
	}
	return m
}

// pause waits for something that gives no sign.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ownSeed is where the node's seed lies when it was made for this lab.
func (n *Node) ownSeed() string { return filepath.Join(n.lab.stateDir("disks"), n.Name()+".iso") }

// copyFileTo copies a small file of the host for QEMU's user.
func (l *Lab) copyFileTo(src, dst string) error {
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	if err := os.WriteFile(dst, data, 0o600); err != nil {
		return err
	}
	return l.giveToQEMU(dst)
}
