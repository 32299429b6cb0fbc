package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"ionlab/internal/domain"
	"ionlab/internal/fabric/nat"
	"ionlab/internal/savefile"
	"ionlab/internal/snapshot"
)

// saveAll stops all machines at one instant and writes state and memory of each to files that begin with a prefix. After an
// error some may be gone.
func (l *Lab) saveAll(ctx context.Context, prefix func(*Node) string) (paused time.Time, err error) {
	asked := time.Now()
	if err := l.each(ctx, func(ctx context.Context, node *Node) error { return node.halt(ctx) }); err != nil {
		return paused, err
	}
	paused = asked.Add(time.Since(asked) / 2)
	return paused, l.each(ctx, func(ctx context.Context, node *Node) error { return node.save(ctx, prefix(node)) })
}

// halt stops the node's virtual CPUs for a save. Who wants the node to stop waits until it has gone on from there, or is given up.
func (n *Node) halt(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	if err := l.takeForSave(ctx); err != nil {
		return fmt.Errorf("node %q: it is being restarted or stopped: %w", n.Name(), err)
	}
	if l.ended() || l.isStopping() {
		return fmt.Errorf("node %q: it was stopped meanwhile", n.Name())
	}
	l.hold(true)
	return n.do(ctx, l, Pause)
}

// save writes the halted node's state and memory to two files, and waits until its domain is gone. Its life waits for restore.
func (n *Node) save(ctx context.Context, prefix string) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	gone := l.beginSave()
	if err := l.domain().Save(ctx, prefix+stateSuffix); err != nil {
		l.cancelSave()
		return fmt.Errorf("node %q: %w", n.Name(), err)
	}
	select {
	case <-gone:
		return n.takeMemory(ctx, prefix)
	case <-ctx.Done():
		return fmt.Errorf("node %q: it was saved, but its domain has not ended: %w", n.Name(), context.Cause(ctx))
	}
}

// takeMemory makes an image of what is in the saved node's memory, which restores map and do not read. Where that cannot be done
// the state keeps it, and restores read it: 0.3 to 0.7 s for a machine of 512 MiB.
func (n *Node) takeMemory(ctx context.Context, prefix string) error {
	names := savefile.Names{From: []string{domain.LibvirtMemory, domain.ImageMemory}, To: domain.ImageMemory}
	err := savefile.Split(ctx, prefix+stateSuffix, prefix+memorySuffix, names)
	if ctx.Err() != nil {
		return fmt.Errorf("node %q: %w", n.Name(), err)
	}
	if err != nil {
		n.lab.log.Warn("a saved machine keeps its memory in one file with its state: its restores will take longer", "node", n.Name(), "err", err)
	}
	return nil
}

// ifThere is the path of a file that exists, or empty.
func ifThere(path string) string {
	if exists(path) {
		return path
	}
	return ""
}

// Suffixes of a node's files in a snapshot.
const (
	stateSuffix   = ".state"
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
	state, layer string
	memory       string // an image; empty where it is in state
	seed         string // empty: that which the node has
	console      string // what it had printed; empty: it is in the node's own log
	vars         string // empty where there are none, or the node's own
	lag          time.Duration
}

// checkpointOf is the saved state in an entry of the store.
func checkpointOf(entry *snapshot.Entry) (checkpoint, error) {
	c := checkpoint{paused: entry.Manifest.Paused, nodes: map[string]savedNode{}}
	if len(entry.Manifest.Mappings) > 0 {
		if err := json.Unmarshal(entry.Manifest.Mappings, &c.mappings); err != nil {
			return c, fmt.Errorf("snapshot %s: read its routers' mappings: %w", snapshot.Short(entry.Manifest.Key), err)
		}
	}
	for _, node := range entry.Manifest.Nodes {
		saved := savedNode{
			state: entry.Path(node.Name + stateSuffix), layer: entry.Path(node.Name + layerSuffix),
			seed: entry.Path(node.Name + seedSuffix), console: entry.Path(node.Name + consoleSuffix), lag: node.Lag,
		}
		path := func(suffix string) string {
			if _, ok := entry.Manifest.Files[node.Name+suffix]; ok {
				return entry.Path(node.Name + suffix)
			}
			return ""
		}
		saved.memory, saved.vars = path(memorySuffix), path(varsSuffix)
		c.nodes[node.Name] = saved
	}
	return c, nil
}
