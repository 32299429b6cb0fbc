package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"ionlab/internal/guest"
	"ionlab/internal/image"
	"ionlab/internal/seed"
	"ionlab/internal/topology"
)

// Node is a machine of a lab. It is safe for concurrent use.
type Node struct {
	lab     *Lab
	spec    topology.Node
	hostKey seed.HostKey
	uuid    string
	// instance is cloud-init's instance id, where it is not this lab's own: see instanceID.
	instance string
	console  *console
	files    nodeFiles
	lag      time.Duration // by how much the clock was behind when the machine was saved
	draws    draws

	mu       sync.Mutex
	image    *image.Image
	life     *life // nil while there is no domain
	status   string
	since    time.Time
	stages   []StageTime
	xml      string // the domain as asked for
	forwards map[uint16]netip.AddrPort
	// provisioned tells that cloud-init has done its work on the disk.
	provisioned bool
	watchers    sync.WaitGroup
}

// nodeFiles are the files of a node on the host.
type nodeFiles struct {
	overlay string // qcow2 on top of the image
	seed    string // NoCloud volume
	log     string // serial console, whole
	serial  string // socket of the serial console, for a person
	agent   string // socket of the guest agent's channel
	ssh     string // socket that leads to the guest's SSH server, for other programs
	vars    string // UEFI variables
	note    string // what other processes have to know
}

// StageTime is how long a stage of a node's start took.
type StageTime struct {
	Stage string
	Took  time.Duration
}

func (n *Node) setProvisioned(done bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.provisioned = done
}

// Name is the node's name in the topology.
func (n *Node) Name() string { return n.spec.Name }

// Spec is what the topology says of the node.
func (n *Node) Spec() topology.Node { return n.spec }

// Status says in words what the node is doing, and since when.
func (n *Node) Status() (string, time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status, n.since
}

// Stages are the stages of the node's last start, in order.
func (n *Node) Stages() []StageTime {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]StageTime(nil), n.stages...)
}

// Addr is the node's address on a network.
func (n *Node) Addr(network string) (netip.Addr, error) {
	var known []string
	for _, link := range n.spec.Links {
		if link.Network == network {
			return link.Addr.Addr(), nil
		}
		known = append(known, link.Network)
	}
	return netip.Addr{}, fmt.Errorf("node %q is not on a network %q; it is on %q", n.Name(), network, known)
}

// ConsoleLines returns the last lines of the serial console.
func (n *Node) ConsoleLines(count int) []string {
	n.mu.Lock()
	console := n.console
	n.mu.Unlock()
	return console.last(count)
}

// Guest returns the way into the running guest. It fails while the node is off or after it died.
func (n *Node) Guest() (*guest.Client, error) {
	l, err := n.alive()
	if err != nil {
		return nil, err
	}
	return l.guest, nil
}

// alive returns the running life, or why there is none.
func (n *Node) alive() (*life, error) {
	n.mu.Lock()
	l, status := n.life, n.status
	n.mu.Unlock()
	if l == nil {
		if n.lab.isClosed() {
			return nil, fmt.Errorf("node %q: %w", n.Name(), ErrClosed)
		}
		return nil, fmt.Errorf("node %q: %w (%s)", n.Name(), ErrOff, status)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	return l, nil
}

func (n *Node) setStatus(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status, n.since = status, time.Now()
}

// enter makes l the node's life; there must be no other.
func (n *Node) enter(l *life, xml string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != nil {
		return errors.New("it runs")
	}
	n.xml, n.life, n.stages = xml, l, nil
	return nil
}

// leave ends l as the node's life, unless that is another one already.
func (n *Node) leave(l *life) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != l {
		return false
	}
	n.life = nil
	return true
}

// follow begins to watch the machine of l, unless the node was closed meanwhile: then nobody waits for a watcher.
func (n *Node) follow(l *life) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == l {
		n.watchers.Go(func() { n.watch(l) })
	}
	return n.life == l
}

// watch follows the life's domain until it has stopped.
func (n *Node) watch(l *life) {
	defer l.leftDomain()
	for change := range l.domain().Changes() {
		n.lab.log.Debug("domain event", "node", n.Name(), "state", change.State, "reason", change.Reason)
		switch change.State {
		case Stopped:
			if !l.isExpected() {
				n.kill(l, change.Reason)
			}
		case Reboot:
			n.console.reset()
			l.guest.Disconnect()
			l.wasReset()
		case Stuck:
			n.kill(l, change.Reason)
		case Paused:
			if !l.isHeld() {
				n.setStatus("paused")
			}
		case Running:
			if status, _ := n.Status(); status == "paused" {
				n.setStatus("ready")
			}
		}
	}
}

// kill declares the life dead.
func (n *Node) kill(l *life, cause string) {
	_ = n.console.read() // what it printed last counts; a console that cannot be read has nothing to add
	n.setStatus("dead: " + cause)
	defer n.lab.doors.drop(n.Name())
	l.die(&DeadError{Node: n.Name(), Cause: cause, Console: n.console.last(12)})
}

// alarm is called by the console when it shows that the guest is lost.
func (n *Node) alarm(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.life; l != nil && l.err() == nil {
		// The console is locked by its caller, and its last lines are wanted in the error.
		n.watchers.Go(func() { n.kill(l, why) })
	}
}

func (n *Node) close() error {
	n.mu.Lock()
	l := n.life
	n.life = nil
	n.mu.Unlock()
	n.setStatus("closed")
	var err error
	if l != nil {
		l.giveBack()
		err = l.guest.Close()
	}
	n.watchers.Wait()
	if n.image != nil {
		err = errors.Join(err, n.image.Close())
	}
	return err
}

// expectStop announces that the lab is about to end the node. What waits for its guest ends now: nobody is going to
// answer.
func (n *Node) expectStop() {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l != nil {
		l.expect(true)
		l.die(fmt.Errorf("node %q: %w", n.Name(), ErrClosed))
	}
}

func (n *Node) addForward(port uint16, host netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.forwards == nil {
		n.forwards = map[uint16]netip.AddrPort{}
	}
	n.forwards[port] = host
}

// HostAddr is where the topology forwards a port of the node to on the host.
func (n *Node) HostAddr(port uint16) (netip.AddrPort, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr, ok := n.forwards[port]; ok {
		return addr, nil
	}
	return netip.AddrPort{}, fmt.Errorf("port %d of node %q is not forwarded: add it to the node's ports, as in \"127.0.0.1:0:%d\"", port, n.Name(), port)
}
