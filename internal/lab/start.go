package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"ionlab/internal/image"
	"ionlab/internal/topology"
)

// Start brings the lab up: images, hypervisor, fabric, and then every node in parallel until it is ready and its
// deploy entries are in place, and then sets it up. ctx bounds Start, not the lab. After an error Close is still due; what was started
// until then is there for evidence. A lab starts once; Close ends a Start that is under way.
func (l *Lab) Start(ctx context.Context) error {
	ctx, end, err := l.beginStart(ctx)
	if err != nil {
		return fmt.Errorf("start lab %q: %w", l.topo.Metadata.Name, err)
	}
	defer end()
	if err := l.preflight(ctx); err != nil {
		return err
	}
	if err := l.settleIn(ctx); err != nil {
		return err
	}
	if err := l.inTurn(ctx, l.admit, l.layout, l.provide, l.wire, l.lookForSnapshot, l.openDoors, l.boot, l.forward, l.setUp); err != nil {
		return err
	}
	l.mu.Lock()
	l.took = time.Since(l.began)
	l.mu.Unlock()
	l.tell(Event{Stage: "lab ready", Note: fmt.Sprintf("%d nodes in %s", len(l.nodes), l.Took().Round(100*time.Millisecond))})
	return nil
}

// beginStart makes Close end the start and wait for end to be called.
func (l *Lab) beginStart(ctx context.Context) (_ context.Context, end func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil, ErrClosed
	case l.starting != nil:
		return nil, nil, errors.New("it was started before; make another with New")
	}
	l.began = time.Now()
	starting := make(chan struct{})
	l.starting = starting
	ctx, l.stopStart = context.WithCancelCause(ctx)
	stop := l.stopStart
	return ctx, func() { stop(nil); close(starting) }, nil
}

// preflight refuses what cannot work before anything is made.
func (l *Lab) preflight(ctx context.Context) error {
	if err := l.topo.CheckSources(); err != nil {
		return fmt.Errorf("start lab %q: %w", l.topo.Metadata.Name, err)
	}
	if _, _, err := l.wantsWarm(); err != nil {
		return err
	}
	if err := l.cfg.Dirs.create(); err != nil {
		return err
	}
	memory, err := l.openLedger(ctx)
	if err != nil {
		return err
	}
	host := topology.Host{
		Arch: runtime.GOARCH, MemoryMB: memory, DiskFreeMB: int(diskFree(l.cfg.Dirs.State) >> 20),
		Images: l.cfg.Host.Images(),
	}
	if err := l.topo.CheckHost(host); err != nil {
		return fmt.Errorf("start lab %q: %w", l.topo.Metadata.Name, err)
	}
	findAccount := l.cfg.Account
	if findAccount == nil {
		findAccount = QEMUAccount
	}
	account, err := findAccount()
	l.account = account
	return err
}

// layout makes the lab's folders and the files that do not depend on anything else.
func (l *Lab) layout(context.Context) error {
	for _, dir := range []string{l.runDir("v"), l.runDir("f"), l.runDir("s"), l.stateDir("disks"), l.stateDir("consoles")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make the lab's folders: %w", err)
		}
		if err := l.giveToQEMU(dir); err != nil {
			return err
		}
	}
	if err := os.Mkdir(l.runDir("d"), 0o700); err != nil {
		return fmt.Errorf("make the lab's folders: %w", err)
	}
	consoles, err := watchConsoles(l.stateDir("consoles"))
	if err != nil {
		return err
	}
	l.consoles = consoles
	for i, node := range l.nodes {
		node.place(i)
	}
	return nil
}

func (l *Lab) runDir(name string) string   { return filepath.Join(l.home.run, name) }
func (l *Lab) stateDir(name string) string { return filepath.Join(l.home.state, name) }

// giveToQEMU lets the user that runs QEMU use a file or folder of ours.
func (l *Lab) giveToQEMU(path string) error {
	if l.account == nil {
		return nil
	}
	if err := os.Lchown(path, l.account.UID, l.account.GID); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, l.account.Name, err)
	}
	return nil
}

// provide gets the images and the hypervisor at once: neither needs the other.
func (l *Lab) provide(ctx context.Context) error {
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return l.getImages(both) })
	group.Go(func() error {
		hypervisor, err := l.cfg.Host.Hypervisor(both, l.runDir("v"), l.account)
		if err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.hypervisor = hypervisor
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return l.chooseAccelerator(ctx)
}

func (l *Lab) getImages(ctx context.Context) error {
	for _, node := range l.nodes {
		req := image.Request{Name: node.spec.Image, Packages: node.spec.Packages}
		l.tell(Event{Node: node.Name(), Stage: "image", Note: node.spec.Image})
		img, err := l.cfg.Host.Image(ctx, req, func(e image.Event) {
			l.tell(Event{Node: node.Name(), Stage: "image " + e.Image + ": " + e.Stage, Note: e.Note, Done: e.Done, Total: e.Total})
		})
		if err != nil {
			return fmt.Errorf("node %q: image %q: %w", node.Name(), node.spec.Image, err)
		}
		node.mu.Lock()
		node.image = img
		node.mu.Unlock()
	}
	return nil
}

func (l *Lab) chooseAccelerator(ctx context.Context) error {
	var kernels []string
	for _, node := range l.nodes {
		if node.image.Kernel != "" {
			kernels = append(kernels, node.image.Kernel)
		}
	}
	system, _ := filepath.Glob("/boot/vmlinuz-*")
	accel, reason := l.cfg.Host.Accelerator(ctx, append(kernels, system...))
	l.mu.Lock()
	l.accel = accel
	l.mu.Unlock()
	l.tell(Event{Stage: "accelerator", Note: accel + ": " + reason})
	return ctx.Err()
}

// boot brings every node up, warm or cold, and waits until all are ready; meanwhile the links are measured. The first
// failure ends the wait for the others. Machines that boot may keep the host too busy for its links to be on time, so a
// link is found wrong only when it is so again in the quiet after the boots.
func (l *Lab) boot(quiet context.Context) error {
	group, ctx := errgroup.WithContext(quiet)
	var wrong error
	group.Go(func() error {
		wrong = l.prove(ctx)
		return nil
	})
	group.Go(func() error { return l.bring(ctx) })
	if err := group.Wait(); err != nil || wrong == nil {
		return err
	}
	l.tell(Event{Stage: "measuring links again", Note: wrong.Error()})
	return l.prove(quiet)
}

// forward opens the host ports that the topology asks for.
func (l *Lab) forward(ctx context.Context) error {
	var errs []error
	for _, node := range l.nodes {
		for _, port := range node.spec.Ports {
			fwd, err := l.fabric.Forward(ctx, port.Host, node.Name(), port.Guest, port.Protocol)
			if err != nil {
				errs = append(errs, fmt.Errorf("node %q: forward %s to port %d: %w", node.Name(), port.Host, port.Guest, err))
				continue
			}
			l.forwards = append(l.forwards, fwd)
			node.addForward(port.Guest, fwd.Addr())
			l.tell(Event{Node: node.Name(), Stage: "port", Note: fmt.Sprintf("%s leads to port %d", fwd.Addr(), port.Guest)})
		}
	}
	return errors.Join(errs...)
}
