package lab

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"ionlab/internal/fabric"
	"ionlab/internal/ledger"
	"ionlab/internal/seed"
	"ionlab/internal/topology"
)

// Lab is a running topology. Make it with New, bring it up with Start, and Close it in any case: Close works on a lab
// that was never started and on a half-started one. It is safe for concurrent use.
type Lab struct {
	cfg    Config
	topo   *topology.Topology
	log    *slog.Logger
	limits Limits

	nodes   []*Node
	signer  ssh.Signer
	key     seed.ClientKey
	accel   string
	account *Account

	// The handles of the fabric's parts, there from the beginning.
	seed     uint64
	networks []*Network
	routers  []*Router
	links    []*Link    // of the nodes, then of the routers
	netMu    sync.Mutex // held while something of the fabric is changed
	// measure is Measure; tests of links that are not as asked replace it.
	measure func(context.Context, []*Link) ([]fabric.Measurement, error)

	home       *home
	fabric     *fabric.Fabric
	hypervisor Hypervisor
	consoles   *consoles
	doors      *doors
	forwards   []*fabric.Forward
	warmth     warmth
	books      *ledger.Ledger      // of the memory that labs on this host have
	memory     *ledger.Reservation // this lab's
	turn       sync.Mutex          // held by Snapshot and Revert
	snapshots  snapshots           // guarded by turn

	mu        sync.Mutex
	closed    bool
	starting  chan struct{} // closed at the end of Start; nil before it
	stopStart context.CancelCauseFunc
	once      sync.Once
	err       error
	began     time.Time
	took      time.Duration
	schedules []*Schedule
	captures  []keptCapture
	measured  []fabric.Measurement
}

// New plans a lab. Nothing is created on the host before Start.
func New(cfg Config) (*Lab, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Lab{cfg: cfg, topo: cfg.Topology, log: cfg.Log, limits: cfg.Limits.withDefaults()}
	if err := errors.Join(l.makeKeys(), l.drawSeed()); err != nil {
		return nil, err
	}
	l.measure = l.Measure
	l.plan()
	for _, spec := range cfg.Topology.Nodes {
		node, err := l.newNode(spec)
		if err != nil {
			return nil, err
		}
		l.nodes = append(l.nodes, node)
	}
	return l, nil
}

func (l *Lab) makeKeys() error {
	key, err := seed.NewClientKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey([]byte(key.Private))
	if err != nil {
		return fmt.Errorf("read back the lab's key: %w", err)
	}
	l.key, l.signer = key, signer
	return nil
}

// drawSeed decides where the randomness of all impairments comes from: from the configuration, the topology, or chance.
func (l *Lab) drawSeed() error {
	l.seed = l.cfg.Seed
	if l.seed == 0 {
		l.seed = l.topo.Seed
	}
	for l.seed == 0 {
		var b [4]byte // short enough for a person to type
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("draw a seed: %w", err)
		}
		l.seed = uint64(binary.BigEndian.Uint32(b[:]))
	}
	return nil
}

// Seed is where the randomness of all impairments comes from. The same seed, names and frames give the same losses.
func (l *Lab) Seed() uint64 { return l.seed }

func (l *Lab) newNode(spec topology.Node) (*Node, error) {
	n := &Node{lab: l, spec: spec, status: "not started", since: time.Now()}
	return n, n.makeIdentity()
}

// makeIdentity draws what the node is known by.
func (n *Node) makeIdentity() error {
	hostKey, err := seed.NewHostKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("node %q: %w", n.Name(), err)
	}
	uuid, err := newUUID()
	if err != nil {
		return fmt.Errorf("node %q: %w", n.Name(), err)
	}
	n.hostKey, n.uuid, n.instance = hostKey, uuid, ""
	return nil
}

// newUUID draws a random UUID (RFC 9562, version 4).
func newUUID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw a UUID: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

// ID names the lab on this host; empty before Start.
func (l *Lab) ID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.home == nil {
		return ""
	}
	return l.home.id
}

// Topology is what the lab was made from.
func (l *Lab) Topology() *topology.Topology { return l.topo }

// Nodes are the lab's nodes in the topology's order.
func (l *Lab) Nodes() []*Node { return append([]*Node(nil), l.nodes...) }

// Node finds a node by name. The error lists the names there are.
func (l *Lab) Node(name string) (*Node, error) {
	names := make([]string, 0, len(l.nodes))
	for _, node := range l.nodes {
		if node.Name() == name {
			return node, nil
		}
		names = append(names, node.Name())
	}
	return nil, fmt.Errorf("lab %q has no node %q; it has %q", l.topo.Metadata.Name, name, names)
}

// SSHConfig is the path of an ssh_config that reaches every node, from Start to Close.
func (l *Lab) SSHConfig() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.home == nil {
		return ""
	}
	return filepath.Join(l.home.run, "ssh_config")
}

// Accelerator says what runs the virtual CPUs, with the reason; empty before Start.
func (l *Lab) Accelerator() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accel
}

// Took is how long Start took; 0 before its end.
func (l *Lab) Took() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.took
}

// Dial opens a TCP connection to a port of a node, from the lab's control address: no impairment or partition of the
// topology is in its way.
func (l *Lab) Dial(ctx context.Context, node string, port uint16) (net.Conn, error) {
	fab, err := l.wired()
	if err != nil {
		return nil, fmt.Errorf("dial node %q: %w", node, err)
	}
	return fab.Dial(ctx, node, port)
}

// wired returns the fabric, or why there is none.
func (l *Lab) wired() (*fabric.Fabric, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case l.fabric == nil:
		return nil, errors.New("the lab was not started")
	}
	return l.fabric, nil
}

// running returns the hypervisor, or why there is none.
func (l *Lab) running() (Hypervisor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case l.hypervisor == nil:
		return nil, errors.New("the lab was not started")
	}
	return l.hypervisor, nil
}

func (l *Lab) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *Lab) tell(e Event) {
	e.Time = time.Now()
	l.log.Info(e.Stage, "lab", l.ID(), "node", e.Node, "note", e.Note)
	if l.cfg.Progress != nil {
		l.cfg.Progress(e)
	}
}
