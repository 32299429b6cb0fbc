// Package virt runs domains on a private libvirt. It is the only package that knows libvirt (cgo).
//
// Each [Hypervisor] starts a session libvirtd of its own, as an unprivileged user, in a PID namespace of its own
// that dies with this process: no domain can outlive its owner, and no two owners see each other's domains.
package virt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"libvirt.org/go/libvirt"

	"ionlab/internal/lab"
	"ionlab/internal/poll"
)

// Config says where a private libvirt lives and who runs it.
type Config struct {
	// Dir is the daemon's run folder. It must exist and be short: libvirt adds about 70 bytes for its sockets, and
	// a socket path ends at 107.
	Dir string
	// Account runs libvirtd and QEMU when this process is root; nil runs them as the user we are.
	Account *Account
	// Capabilities is a folder where libvirt keeps what it found out about QEMU, for the daemons of all owners: asking QEMU
	// takes half a second under load. It is made where it is missing. Empty for none.
	Capabilities string
	Log          *slog.Logger
}

// Hypervisor is a connection to a private libvirtd. It is safe for concurrent use. Close it.
type Hypervisor struct {
	log    *slog.Logger
	daemon *daemon
	conn   *libvirt.Connect
	closed sync.Once
	err    error

	mu       sync.Mutex
	machines map[string]*Machine
	down     bool
}

var _ lab.Hypervisor = (*Hypervisor)(nil)

// Start starts a private libvirtd and connects to it. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Hypervisor, error) {
	if err := startLoop(); err != nil {
		return nil, err
	}
	d, err := startDaemon(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h := &Hypervisor{log: cfg.Log, daemon: d, machines: map[string]*Machine{}}
	if err := h.connect(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *Hypervisor) connect(ctx context.Context) error {
	return do(ctx, "connect to the private libvirtd", func() error {
		conn, err := libvirt.NewConnect(URI(h.daemon.dir))
		if err != nil {
			return err
		}
		h.conn = conn
		if _, err := conn.DomainEventLifecycleRegister(nil, h.onLifecycle); err != nil {
			return err
		}
		if _, err := conn.DomainEventRebootRegister(nil, h.onReboot); err != nil {
			return err
		}
		return conn.RegisterCloseCallback(h.onClose)
	})
}

// URI is the libvirt address of the private daemon in dir, for virsh and for other processes of the same user.
func URI(dir string) string { return "qemu+unix:///session?socket=" + Socket(dir) }

// Create starts a transient domain.
func (h *Hypervisor) Create(ctx context.Context, name, xml string) (lab.Machine, error) {
	return h.launch(ctx, name, "create", func() (*libvirt.Domain, error) { return h.conn.DomainCreateXML(xml, 0) })
}

// launch has call start the domain of that name.
func (h *Hypervisor) launch(ctx context.Context, name, verb string, call func() (*libvirt.Domain, error)) (lab.Machine, error) {
	h.mu.Lock()
	if h.down {
		h.mu.Unlock()
		return nil, fmt.Errorf("%s domain %q: the private libvirtd is gone", verb, name)
	}
	m := &Machine{name: name, dir: h.daemon.dir, changes: make(chan lab.Change, 64)}
	h.machines[name] = m // before the domain exists: its first events must find it
	h.mu.Unlock()
	what := fmt.Sprintf("%s domain %q", verb, name)
	err := doOrUndo(ctx, what, func() error {
		dom, err := onceRemoved(ctx, call)
		if err != nil {
			return err
		}
		m.setDomain(dom)
		return nil
	}, m.destroy)
	if err != nil {
		h.forget(m)
		return nil, err
	}
	return m, nil
}

// removal bounds how long libvirt may take to forget a domain that has ended.
const removal = 10 * time.Second

// onceRemoved has call start a domain, again and again while libvirt says that it is about to forget one of that name: it
// tells of a domain's end before it has cleaned up behind it.
func onceRemoved(ctx context.Context, call func() (*libvirt.Domain, error)) (dom *libvirt.Domain, err error) {
	ctx, cancel := context.WithTimeout(ctx, removal)
	defer cancel()
	_ = poll.Until(ctx, 20*time.Millisecond, func(context.Context) error {
		dom, err = call()
		var said libvirt.Error
		if errors.As(err, &said) && said.Code == libvirt.ERR_OPERATION_FAILED && strings.Contains(said.Message, "is already being removed") {
			return err
		}
		return nil
	})
	return dom, err
}

// Close kills every domain, libvirtd itself, and waits until all are gone.
func (h *Hypervisor) Close() error {
	if h == nil {
		return nil
	}
	h.closed.Do(func() {
		h.err = h.daemon.Close()
		h.lost("the lab was closed")
		if h.conn != nil {
			// The peer is dead: what libvirt says of the farewell does not matter any more.
			_ = h.conn.UnregisterCloseCallback()
			_, _ = h.conn.Close()
		}
	})
	return h.err
}

// forget drops m, unless another machine has its name by now: a saved domain's last event may come after its restore.
func (h *Hypervisor) forget(m *Machine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.machines[m.name] == m {
		delete(h.machines, m.name)
	}
}

func (h *Hypervisor) machine(dom *libvirt.Domain) *Machine {
	name, err := dom.GetName()
	if err != nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.machines[name]
}

// lost ends every machine: libvirtd took them along.
func (h *Hypervisor) lost(reason string) {
	h.mu.Lock()
	h.down = true
	machines := h.machines
	h.machines = map[string]*Machine{}
	h.mu.Unlock()
	for _, m := range machines {
		m.note(lab.Change{State: lab.Stopped, Reason: reason})
	}
}

func (h *Hypervisor) onClose(*libvirt.Connect, libvirt.ConnectCloseReason) {
	go h.lost("the private libvirtd died and took its domains along; it printed: " + h.daemon.proc.output.String())
}

func (h *Hypervisor) onReboot(_ *libvirt.Connect, dom *libvirt.Domain) {
	if m := h.machine(dom); m != nil {
		m.note(lab.Change{State: lab.Reboot, Reason: "the guest restarted"})
	}
}

func (h *Hypervisor) onLifecycle(_ *libvirt.Connect, dom *libvirt.Domain, event *libvirt.DomainEventLifecycle) {
	m := h.machine(dom)
	change, ok := translate(event)
	if m == nil || !ok {
		return
	}
	if change.State == lab.Stopped {
		h.forget(m)
	}
	m.note(change)
}

// do runs a libvirt call, which knows no context, beside ctx. A call that outlives ctx ends with its connection.
func do(ctx context.Context, what string, call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: libvirt has not answered: %w", what, context.Cause(ctx))
	}
}

// undoGrace is how long a call that came too late is waited for, so that it can be undone.
const undoGrace = time.Minute

// doOrUndo is do for a call that leaves something behind. When ctx ends first, it waits for the call all the same and undoes
// what came of it: a domain that appears later would have the name that the next one wants.
func doOrUndo(ctx context.Context, what string, call, undo func() error) error {
	done := make(chan error, 1)
	err := do(ctx, what, func() error {
		err := call()
		done <- err
		return err
	})
	if ctx.Err() == nil || err == nil {
		return err
	}
	timer := time.NewTimer(undoGrace)
	defer timer.Stop()
	select {
	case callErr := <-done:
		if callErr == nil {
			return errors.Join(err, undo())
		}
		return err
	case <-timer.C:
		return fmt.Errorf("%w (nor within %s after that)", err, undoGrace)
	}
}
