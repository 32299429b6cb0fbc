package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ionlab/internal/fabric/nat"
	"ionlab/internal/guest"
	"ionlab/internal/snapshot"
)

// settleTime is what a guest gets to end its side of the connections that were closed before it is paused.
const settleTime = 500 * time.Millisecond

// zeroFree fills free pages with zeros, which QEMU does not store: as many as that line of /proc/meminfo says, less 32 MiB.
// What a boot does not touch is zero already, so 1 GiB is enough for any guest, and bearable for the host. mmap(2) is
// number 9 on x86_64, 0x8022 is MAP_PRIVATE, MAP_ANONYMOUS and MAP_POPULATE; if memory runs out, this process is the
// one to go.
func zeroFree(line string) string {
	return `perl -e 'open F,"</proc/meminfo"; while(<F>){ /` + line + `: *(\d+)/ and $n=$1-32768 } $n=1048576 if $n>1048576;
open O,">/proc/self/oom_score_adj"; print O 1000; close O; syscall(9,0,$n*1024,3,0x8022,-1,0) if $n>0' || true`
}

// trim makes the guest's memory small to save; with its caches dropped, too, it is as small as can be. 512 MiB of a Debian
// at rest: 237 MB before, 129 MB after, and half of QEMU's work at the restore; the zeros take 3 s of the guest's processor
// under emulation, once. The guest is not bound to have all that this needs; what does not work makes the file larger.
func (n *Node) trim(ctx context.Context, l *life, script string) error {
	_, err := l.guest.Run(ctx, guest.Cmd{Shell: script, Timeout: trimLimit})
	if err != nil && ctx.Err() == nil && l.err() == nil {
		n.lab.log.Info("a guest's memory is saved as it is", "node", n.Name(), "err", err)
		return nil
	}
	return err
}

// trimLimit bounds what is only there to save time.
const trimLimit = 2 * time.Minute

// readyToFreeze finds out whether the lab can be saved and restored, and prepares its guests for it.
func (l *Lab) readyToFreeze(ctx context.Context) error {
	if err := l.roomForSnapshot(); err != nil {
		return err
	}
	l.tell(Event{Stage: "making a snapshot"})
	return l.each(ctx, func(ctx context.Context, node *Node) error { return node.calm(ctx) })
}

// freeze turns the cold, provisioned lab into a snapshot and lets it go on from there.
func (l *Lab) freeze(ctx context.Context) error {
	w := &l.warmth
	began := time.Now()
	paused, err := l.saveAll(ctx, func(node *Node) string { return w.draft.Path(node.Name() + memorySuffix) })
	if err != nil {
		return err
	}
	for _, node := range l.nodes {
		if err := node.putInto(w.draft); err != nil {
			return err
		}
	}
	entry, err := w.draft.Commit(ctx, l.manifest(paused))
	if err != nil {
		return err
	}
	w.entry = entry
	if err := w.draft.Close(); err != nil {
		return fmt.Errorf("finish the snapshot: %w", err)
	}
	w.draft = nil
	if err := l.thaw(ctx, checkpointOf(entry)); err != nil {
		return err
	}
	l.tell(Event{Stage: "snapshot", Note: fmt.Sprintf("%s, %d MB, in %s: the next start is warm", snapshot.Short(entry.Manifest.Key),
		entry.Manifest.Bytes()/1e6, time.Since(began).Round(100*time.Millisecond))})
	return nil
}

// roomForSnapshot refuses to save what may not fit on the disk: the domain that is being saved then would be lost.
func (l *Lab) roomForSnapshot() error {
	need := int64(256 << 20)
	for _, node := range l.nodes {
		need += int64(node.spec.MemoryMB)<<20 + usage(node.files.overlay)
	}
	if free := diskFree(l.cfg.Dirs.Cache); free < need {
		return fmt.Errorf("%s has %d MB left, and it may need %d", l.cfg.Dirs.Cache, free>>20, need>>20)
	}
	return nil
}

// calm prepares the guest for being saved: little memory in use, no connection from outside.
func (n *Node) calm(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	n.setStatus("making a snapshot")
	if n.lag, err = n.measureLag(ctx, l); err != nil {
		return fmt.Errorf("node %q: %w", n.Name(), err)
	}
	if err := n.trim(ctx, l, "sync; echo 3 >/proc/sys/vm/drop_caches; "+zeroFree("MemAvailable")); err != nil {
		return err
	}
	l.guest.Disconnect()
	if err := n.rehearse(ctx, l); err != nil {
		return err
	}
	l.guest.Disconnect()
	return pause(ctx, settleTime)
}

// rehearse logs in and runs what wake needs: what that reads from the disk stays in memory this time, for every restore to
// come. A guest that has none of it could never be woken.
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
func (n *Node) putInto(draft *snapshot.Draft) error {
	if err := draft.Take(n.files.overlay, n.Name()+layerSuffix); err != nil {
		return err
	}
	if err := draft.Take(n.files.seed, n.Name()+seedSuffix); err != nil {
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
func (l *Lab) manifest(paused time.Time) *snapshot.Manifest {
	m := &snapshot.Manifest{
		Topology: l.topo.Metadata.Name, Inputs: l.warmth.inputs, Paused: paused, ClientKey: snapshot.KeyPair(l.key),
	}
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

// saveAll stops all machines at one instant and writes their memory to files. After an error some may be gone.
func (l *Lab) saveAll(ctx context.Context, path func(*Node) string) (paused time.Time, err error) {
	asked := time.Now()
	if err := l.each(ctx, func(ctx context.Context, node *Node) error { return node.halt(ctx) }); err != nil {
		return paused, err
	}
	paused = asked.Add(time.Since(asked) / 2)
	return paused, l.each(ctx, func(ctx context.Context, node *Node) error { return node.save(ctx, path(node)) })
}

// halt stops the node's virtual CPUs for a save.
func (n *Node) halt(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	l.hold(true)
	return n.do(ctx, l, Pause)
}

// save writes the halted node's memory to a file and waits until its domain is gone. Its life waits for restore.
func (n *Node) save(ctx context.Context, path string) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	gone := l.beginSave()
	if err := l.domain().Save(ctx, path); err != nil {
		l.cancelSave()
		return fmt.Errorf("node %q: %w", n.Name(), err)
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %q: it was saved, but its domain has not ended: %w", n.Name(), context.Cause(ctx))
	}
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

// Suffixes of a node's files in a snapshot.
const (
	memorySuffix  = ".memory"
	layerSuffix   = ".qcow2"
	seedSuffix    = ".iso"
	consoleSuffix = ".console"
	varsSuffix    = ".vars"
)

// checkpoint is a saved state of all nodes, on the host.
type checkpoint struct {
	paused time.Time
	nodes  map[string]savedNode
	// mappings are those of the routers, by name; nil where the machines begin anew in a fabric that has just begun.
	mappings map[string][]nat.Mapping
}

// savedNode are the files of one node, and by how much its clock was behind.
type savedNode struct {
	memory, layer string
	seed          string // empty: that which the node has
	console       string // what it had printed; empty: it is in the node's own log
	vars          string // empty where there are none, or the node's own
	lag           time.Duration
}

// checkpointOf is the saved state in an entry of the store.
func checkpointOf(entry *snapshot.Entry) checkpoint {
	c := checkpoint{paused: entry.Manifest.Paused, nodes: map[string]savedNode{}}
	for _, node := range entry.Manifest.Nodes {
		saved := savedNode{
			memory: entry.Path(node.Name + memorySuffix), layer: entry.Path(node.Name + layerSuffix),
			seed: entry.Path(node.Name + seedSuffix), console: entry.Path(node.Name + consoleSuffix), lag: node.Lag,
		}
		if _, ok := entry.Manifest.Files[node.Name+varsSuffix]; ok {
			saved.vars = entry.Path(node.Name + varsSuffix)
		}
		c.nodes[node.Name] = saved
	}
	return c
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
