package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"libvirt.org/go/libvirtxml"

	"ionlab/internal/domain"
	"ionlab/internal/image"
)

// fakeHost is a host whose machines are goroutines: no process is started and no right is needed.
type fakeHost struct {
	dir string

	mu          sync.Mutex
	hypervisors []*fakeHypervisor
	plans       map[string]*plan // by node
	overlays    []string
	rebased     []string
	flattened   []string
	accel       string // tcg when empty
	failImage   error
	failStart   error // of the hypervisor
	failCreate  error
	failOverlay error
	failSave    error
	failRestore error

	savesOtherwise  bool // machines are saved in a form that is not known
	failRestoreOnce error
	hold            map[string]chan struct{} // steps that wait until the channel is closed, or their ctx ends
	reached         chan string              // steps as they begin
}

func newFakeHost(t testing.TB) *fakeHost {
	t.Helper()
	host := &fakeHost{dir: t.TempDir(), plans: map[string]*plan{}, hold: map[string]chan struct{}{}, reached: make(chan string, 100)}
	for _, name := range []string{"disk.qcow2", "vmlinuz"} {
		if err := os.WriteFile(filepath.Join(host.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return host
}

// plan is how a node's guest behaves, for tests to change.
func (h *fakeHost) plan(node string) *plan {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.plans[node] == nil {
		h.plans[node] = &plan{}
	}
	return h.plans[node]
}

// machine is the newest domain of a node.
func (h *fakeHost) machine(t testing.TB, node string) *fakeMachine {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hypervisor := range slices.Backward(h.hypervisors) {
		if m := hypervisor.find(node); m != nil {
			return m
		}
	}
	t.Fatalf("node %q has no domain", node)
	return nil
}

// step is a place where a test can stop a start.
func (h *fakeHost) step(ctx context.Context, name string) error {
	h.mu.Lock()
	held := h.hold[name]
	h.mu.Unlock()
	select {
	case h.reached <- name:
	default:
	}
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
}

// release lets what is held at a step go on.
func (h *fakeHost) release(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.hold[name])
	delete(h.hold, name)
}

// holdAt stops a start at a step until its ctx ends.
func (h *fakeHost) holdAt(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold[name] = make(chan struct{})
}

func (h *fakeHost) Image(ctx context.Context, req image.Request, progress func(image.Event)) (*image.Image, error) {
	if err := h.step(ctx, "image"); err != nil {
		return nil, err
	}
	progress(image.Event{Image: req.Name, Stage: "download", Done: 1, Total: 2})
	if h.failImage != nil {
		return nil, h.failImage
	}
	return &image.Image{
		Name: req.Name, Disk: filepath.Join(h.dir, "disk.qcow2"), Format: "qcow2", VirtualSize: 1 << 30,
		Kernel: filepath.Join(h.dir, "vmlinuz"), Cmdline: "console=ttyS0",
	}, nil
}

func (h *fakeHost) Images() []string { return []string{"debian-12"} }

func (h *fakeHost) Accelerator(context.Context, []string) (accel, reason string) {
	return cmp.Or(h.accel, "tcg"), "this host is fake"
}

func (h *fakeHost) Hypervisor(ctx context.Context, dir string, _ *Account) (Hypervisor, error) {
	if err := h.step(ctx, "hypervisor"); err != nil {
		return nil, err
	}
	if h.failStart != nil {
		return nil, h.failStart
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("the hypervisor's folder is missing: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	hypervisor := &fakeHypervisor{host: h}
	h.hypervisors = append(h.hypervisors, hypervisor)
	return hypervisor, nil
}

func (h *fakeHost) Overlay(ctx context.Context, path, _, _ string, size int64) error {
	if err := h.step(ctx, "overlay"); err != nil {
		return err
	}
	if h.failOverlay != nil {
		return h.failOverlay
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.overlays = append(h.overlays, fmt.Sprintf("%s %d", filepath.Base(path), size))
	return os.WriteFile(path, nil, 0o600)
}

func (h *fakeHost) Rebase(_ context.Context, path, base, format string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rebased = append(h.rebased, fmt.Sprintf("%s %s %s", filepath.Base(path), base, format))
	return nil
}

func (h *fakeHost) Flatten(_ context.Context, path, base, _ string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flattened = append(h.flattened, fmt.Sprintf("%s %s", filepath.Base(path), filepath.Base(base)))
	return nil
}

// fakeHypervisor makes fakeMachines.
type fakeHypervisor struct {
	host *fakeHost

	mu       sync.Mutex
	machines []*fakeMachine
	closed   bool
}

func (h *fakeHypervisor) Create(ctx context.Context, _, xml string) (Machine, error) {
	if err := h.host.step(ctx, "create"); err != nil {
		return nil, err
	}
	if h.host.failCreate != nil {
		return nil, h.host.failCreate
	}
	return h.launch(xml, nil)
}

// Restore brings back what fakeMachine.Save wrote, paused.
func (h *fakeHypervisor) Restore(ctx context.Context, _, xml, path string) (Machine, error) {
	if err := h.host.step(ctx, "restore"); err != nil {
		return nil, err
	}
	h.host.mu.Lock()
	once := h.host.failRestoreOnce
	h.host.failRestoreOnce = nil
	h.host.mu.Unlock()
	if err := errors.Join(once, h.host.failRestore); err != nil {
		return nil, err
	}
	var dom libvirtxml.Domain
	if err := dom.Unmarshal(xml); err != nil {
		return nil, err
	}
	var arguments []string
	for _, argument := range dom.QEMUCommandline.Args {
		arguments = append(arguments, argument.Value)
	}
	saved, err := readSavedGuest(path, arguments)
	if err != nil {
		return nil, err
	}
	return h.launch(xml, saved)
}

// launch starts a machine; with a saved guest it is that one.
func (h *fakeHypervisor) launch(xml string, saved *savedGuest) (Machine, error) {
	labels, err := domain.ParseLabels(xml)
	if err != nil {
		return nil, err
	}
	m, err := newFakeMachine(h.host.plan(labels.Node), labels.Node, xml)
	if err != nil {
		return nil, err
	}
	m.host, m.saved = h.host, saved
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errors.New("the hypervisor is gone")
	}
	h.machines = append(h.machines, m)
	m.powerUp()
	return m, nil
}

func (h *fakeHypervisor) Version(context.Context) (string, error) { return "9.0.0 (fake)", nil }

func (h *fakeHypervisor) find(node string) *fakeMachine {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.machines) - 1; i >= 0; i-- {
		if h.machines[i].node == node {
			return h.machines[i]
		}
	}
	return nil
}

func (h *fakeHypervisor) Close() error {
	h.mu.Lock()
	machines := h.machines
	h.closed = true
	h.mu.Unlock()
	for _, m := range machines {
		m.stop("the lab was closed")
	}
	return nil
}
