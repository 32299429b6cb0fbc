package lab

import (
	"context"
	"errors"
	"time"
)

// wakeLimit bounds what a restored guest takes to answer, and then to be put right. It is 2 s together under emulation, and
// a hundred times that on a host with ten times more to do than it can: a cold boot would take it an hour.
const wakeLimit = 5 * time.Minute

// thaw starts every node from a saved state, at one instant, on fresh overlays, and waits until each is put right: its
// clock set, its random source reseeded, known to be the one that was saved, and open to commands.
func (l *Lab) thaw(ctx context.Context, from checkpoint) error {
	if err := l.each(ctx, func(ctx context.Context, node *Node) error { return node.restore(ctx, from.nodes[node.Name()]) }); err != nil {
		return err
	}
	// Here all nodes stand still: the routers are put back to the same instant.
	for _, router := range l.fabric.Routers() {
		if list, ok := from.mappings[router.Name()]; ok {
			router.RestoreMappings(list, from.paused)
		}
	}
	return l.each(ctx, func(ctx context.Context, node *Node) error { return node.resume(ctx, from) })
}

// restore starts the node's domain from its saved state, paused.
func (n *Node) restore(ctx context.Context, saved savedNode) error {
	n.setStatus("restoring")
	began := time.Now()
	if err := n.restoreDisks(ctx, saved); err != nil {
		return &StageError{Node: n.Name(), Stage: "restore", Err: err}
	}
	xml, err := n.domainXML(saved.memory)
	if err != nil {
		return err
	}
	create := func(h Hypervisor) (Machine, error) { return h.Restore(ctx, n.domainName(), xml, saved.state) }
	if err := n.reenter(ctx, xml, create); err != nil {
		return &StageError{Node: n.Name(), Stage: "restore", Err: err}
	}
	if l, err := n.alive(); err == nil {
		l.leaveOutInit(false) // should it start again in this QEMU
	}
	n.staged("restore", began)
	return nil
}

// reenter goes on with the saved life of the node, or begins one that is held.
func (n *Node) reenter(ctx context.Context, xml string, create func(Hypervisor) (Machine, error)) error {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil {
		l = newLife()
		l.hold(true)
		_, err := n.launch(l, xml, create)
		return err
	}
	hypervisor, err := n.lab.running()
	if err != nil {
		return err
	}
	machine, err := create(hypervisor)
	if err != nil {
		return err
	}
	l.goOn(machine)
	if !n.follow(l) {
		return ErrClosed
	}
	return nil
}

// restoreDisks makes an overlay on the saved layer, and gives the node the other files it had.
func (n *Node) restoreDisks(ctx context.Context, saved savedNode) error {
	if err := n.lab.cfg.Host.Overlay(ctx, n.files.overlay, saved.layer, "qcow2", n.diskSize()); err != nil {
		return err
	}
	if saved.seed != "" {
		n.files.seed = saved.seed
	}
	errs := []error{n.lab.giveToQEMU(n.files.overlay)}
	if saved.vars != "" {
		errs = append(errs, n.lab.copyFileTo(saved.vars, n.files.vars))
	}
	if saved.console != "" && !exists(n.files.log) {
		errs = append(errs, n.lab.copyFileTo(saved.console, n.files.log))
	}
	return errors.Join(errs...)
}

// resume lets the restored node run on and puts it right.
func (n *Node) resume(ctx context.Context, from checkpoint) error {
	l, err := n.alive()
	if err != nil {
		return err
	}
	asked := time.Now()
	if err := n.do(ctx, l, Resume); err != nil {
		return &StageError{Node: n.Name(), Stage: "resume", Err: err}
	}
	resumed := asked.Add(time.Since(asked) / 2)
	behind := resumed.Sub(from.paused) + from.nodes[n.Name()].lag
	l.hold(false)
	if err := n.settle(ctx, l, n.wakeStages(behind)); err != nil {
		return err
	}
	n.setProvisioned(true)
	l.giveBack()
	return nil
}

// wakeStages lead from a restored machine to a provisioned node.
func (n *Node) wakeStages(behind time.Duration) []stage {
	limits := n.lab.limits
	return []stage{
		{"login", "the restored guest does not answer", min(wakeLimit, limits.Boot), n.awaitLogin},
		{"wake", "", wakeLimit, func(ctx context.Context, l *life) error { return n.wake(ctx, l, behind) }},
	}
}

// staged notes how long a stage took.
func (n *Node) staged(stage string, began time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stages = append(n.stages, StageTime{stage, time.Since(began)})
}

// errNotTheSame says that a restored guest is not the one that was saved.
var errNotTheSame = errors.New("the restored guest is not the one that was saved")
