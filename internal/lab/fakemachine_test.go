package lab

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"libvirt.org/go/libvirtxml"
)

// fakeMachine is a domain whose guest runs in this process, wired up as its XML says.
type fakeMachine struct {
	node    string
	xml     string
	plan    *plan
	console string            // path of the console's log
	seed    string            // path of the seed volume
	sockets map[string]string // of the fabric, by MAC
	changes chan Change
	booting sync.WaitGroup
	host    *fakeHost
	saved   *savedGuest // what it is restored from; nil when it boots

	mu      sync.Mutex
	stopped bool
	guest   *fakeGuest
	log     *os.File
}

func newFakeMachine(p *plan, node, xml string) (*fakeMachine, error) {
	var dom libvirtxml.Domain
	if err := dom.Unmarshal(xml); err != nil {
		return nil, fmt.Errorf("read the domain's XML: %w", err)
	}
	m := &fakeMachine{node: node, xml: xml, plan: p, sockets: map[string]string{}, changes: make(chan Change, 64)}
	m.console = dom.Devices.Serials[0].Log.File
	m.seed = dom.Devices.Disks[1].Source.File.File
	paths := map[string]string{}
	for _, arg := range dom.QEMUCommandline.Args {
		o := options(arg.Value)
		switch {
		case strings.HasPrefix(arg.Value, "stream,"):
			paths[o["id"]] = o["addr.path"]
		case strings.HasPrefix(arg.Value, "virtio-net-pci,"):
			m.sockets[o["mac"]] = paths[o["netdev"]]
		}
	}
	log, err := os.OpenFile(m.console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	m.log = log
	return m, err
}

// options takes an argument of QEMU's apart.
func options(arg string) map[string]string {
	found := map[string]string{}
	for part := range strings.SplitSeq(arg, ",") {
		name, value, _ := strings.Cut(part, "=")
		found[name] = value
	}
	return found
}

// powerUp starts the guest.
func (m *fakeMachine) powerUp() {
	m.changes <- Change{State: Running, Reason: "running"}
	m.booting.Go(func() {
		guest, err := bootGuest(m)
		if err != nil {
			m.emit("fake guest: " + err.Error() + "\n")
			return
		}
		m.mu.Lock()
		stopped := m.stopped
		m.guest = guest
		m.mu.Unlock()
		if stopped {
			guest.off()
		}
	})
}

// emit writes to the serial console.
func (m *fakeMachine) emit(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _ = m.log.WriteString(text)
}

// stop ends the domain for that reason, asked or not.
func (m *fakeMachine) stop(reason string) {
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		m.booting.Wait()
		return
	}
	m.stopped = true
	guest := m.guest
	m.mu.Unlock()
	m.changes <- Change{State: Stopped, Reason: reason}
	close(m.changes)
	guest.off()
	m.booting.Wait()
	_ = m.log.Close()
}

// tell delivers an event of a domain that goes on.
func (m *fakeMachine) tell(c Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.stopped {
		m.changes <- c
	}
}

// reboot is what the guest's own reboot does to the domain.
func (m *fakeMachine) reboot() {
	if m.plan.get().rebootEnds {
		go m.stop("the guest shut down") // as its own session goes down with it
		return
	}
	m.mu.Lock()
	guest := m.guest
	m.mu.Unlock()
	m.emit("reboot: Restarting system\n")
	m.tell(Change{State: Reboot, Reason: "the guest restarted"})
	guest.restart()
}

// ended tells whether the domain has stopped.
func (m *fakeMachine) ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopped
}

func (m *fakeMachine) Do(ctx context.Context, action Action) error {
	stopped := m.ended()
	switch {
	case stopped && (action == Shutdown || action == PowerOff):
		return nil
	case stopped:
		return errors.New("the domain is not running")
	}
	switch action {
	case Shutdown:
		if !m.plan.get().ignoresButton {
			m.emit("systemd-shutdown: Powering off.\n")
			m.stop("the guest shut down")
		}
	case PowerOff:
		m.stop("destroyed on the host")
	case Pause:
		if err := m.host.step(ctx, "pause "+m.node); err != nil {
			return err
		}
		m.tell(Change{State: Paused, Reason: "paused"})
	case Resume:
		m.tell(Change{State: Running, Reason: "running"})
	}
	return nil
}

// Save writes what makes the guest the same one after a restore.
func (m *fakeMachine) Save(ctx context.Context, path string) error {
	if err := m.host.step(ctx, "save "+m.node); err != nil {
		return err
	}
	if m.host.failSave != nil {
		return m.host.failSave
	}
	volume, err := os.ReadFile(m.seed)
	if err != nil {
		return err
	}
	m.booting.Wait()
	saved := savedGuest{Seed: base64.StdEncoding.EncodeToString(volume), Boot: m.guest.boot}
	if err := saved.write(path, !m.host.savesOtherwise); err != nil {
		return err
	}
	m.stop("saved")
	return nil
}

func (m *fakeMachine) Inspect(context.Context) (Inspection, error) {
	return Inspection{XML: m.xml, Command: "qemu-system-x86_64 -name guest=" + m.node, PID: 4242}, nil
}

func (m *fakeMachine) Changes() <-chan Change { return m.changes }
