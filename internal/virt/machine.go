package virt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"libvirt.org/go/libvirt"

	"ionlab/internal/lab"
)

// Machine is a domain of a private libvirt. It is safe for concurrent use.
type Machine struct {
	name    string
	dir     string // run folder of the libvirtd that it belongs to
	mu      sync.Mutex
	dom     *libvirt.Domain
	stopped bool
	changes chan lab.Change
}

var _ lab.Machine = (*Machine)(nil)

// Changes delivers the domain's events in order and is closed after the one to lab.Stopped. Events that nobody
// reads for long are dropped, the last one never.
func (m *Machine) Changes() <-chan lab.Change { return m.changes }

func (m *Machine) note(c lab.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	if c.State == lab.Stopped {
		m.stopped = true
		for len(m.changes) == cap(m.changes) {
			select {
			case <-m.changes: // make room: the last event is the one that counts
			default:
			}
		}
		m.changes <- c
		close(m.changes)
		return
	}
	select {
	case m.changes <- c:
	default:
	}
}

func (m *Machine) setDomain(dom *libvirt.Domain) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dom = dom
}

func (m *Machine) domain() (*libvirt.Domain, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.dom == nil {
		return nil, fmt.Errorf("domain %q is not running", m.name)
	}
	return m.dom, nil
}

func (m *Machine) isStopped() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopped
}

// Do asks libvirt for a change of power state.
func (m *Machine) Do(ctx context.Context, action lab.Action) error {
	dom, err := m.domain()
	if err != nil && m.isStopped() && (action == lab.Shutdown || action == lab.PowerOff) {
		return nil // it is what was asked for
	}
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	calls := map[lab.Action]func() error{
		lab.Shutdown: func() error { return gone(dom.ShutdownFlags(libvirt.DOMAIN_SHUTDOWN_ACPI_POWER_BTN)) },
		lab.PowerOff: func() error { return gone(dom.DestroyFlags(libvirt.DOMAIN_DESTROY_DEFAULT)) },
		lab.Reset:    func() error { return dom.Reset(0) },
		lab.Pause:    dom.Suspend,
		lab.Resume:   dom.Resume,
	}
	call, ok := calls[action]
	if !ok {
		return fmt.Errorf("domain %q: no such action: %q", m.name, action)
	}
	return do(ctx, fmt.Sprintf("%s domain %q", action, m.name), call)
}

// destroy ends a domain that nobody has been told of.
func (m *Machine) destroy() error {
	dom, err := m.domain()
	if err != nil {
		return nil //nolint:nilerr // it has ended by itself.
	}
	if err := gone(dom.DestroyFlags(libvirt.DOMAIN_DESTROY_DEFAULT)); err != nil {
		return fmt.Errorf("end domain %q, which came too late: %w", m.name, err)
	}
	return nil
}

// gone takes "there is no such domain" for success: it is what a power off wants.
func gone(err error) error {
	var e libvirt.Error
	if errors.As(err, &e) && (e.Code == libvirt.ERR_NO_DOMAIN || e.Code == libvirt.ERR_OPERATION_INVALID) {
		return nil
	}
	return err
}

// Inspect returns the live XML of the domain, its QEMU's process and command line.
func (m *Machine) Inspect(ctx context.Context) (lab.Inspection, error) {
	dom, err := m.domain()
	if err != nil {
		return lab.Inspection{}, err
	}
	var out lab.Inspection
	err = do(ctx, fmt.Sprintf("inspect domain %q", m.name), func() error {
		var err error
		out.XML, err = dom.GetXMLDesc(0)
		return err
	})
	if err != nil {
		return out, err
	}
	out.PID, out.Command = findQEMU(m.dir, m.name)
	return out, nil
}

// findQEMU looks the process up in /proc: libvirt's own pid is one of its PID namespace and means nothing here. Another
// owner's libvirtd may have a domain of the same name; its sockets lie elsewhere.
func findQEMU(dir, domain string) (pid int, command string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), "\x00guest="+domain+",") || !strings.Contains(string(data), dir+"/") {
			continue
		}
		if pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			return pid, quote(strings.Split(strings.TrimRight(string(data), "\x00"), "\x00"))
		}
	}
	return 0, ""
}

func quote(argv []string) string {
	quoted := make([]string, 0, len(argv))
	for _, arg := range argv {
		if arg == "" || strings.ContainsAny(arg, " '\"$`\\{}*?[]()<>|&;#~!\n\t") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		quoted = append(quoted, arg)
	}
	return strings.Join(quoted, " ")
}
