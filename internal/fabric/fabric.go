package fabric

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
)

// Fabric is all networks and links of a lab. Its methods may be called concurrently.
type Fabric struct {
	networks []*Network
	byName   map[string]*Network
	routers  []*Router
	pool     *framePool
	parts    *partitions
	// scheduler is nil where it could not be made.
	scheduler *scheduler
	cancel    context.CancelFunc
	running   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	forwards map[*Forward]struct{}

	closeOnce sync.Once
	closeErr  error
}

// New builds the networks and listens on one socket for each node and network. On error nothing of it is left. The caller
// closes the fabric; what it starts ends then, and not with anyone's context, for a lab outlives the call that starts it.
func New(cfg Config) (*Fabric, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // A lab's own life begins here.
	f := &Fabric{byName: make(map[string]*Network), pool: new(framePool), parts: newPartitions(), cancel: cancel, forwards: make(map[*Forward]struct{})}
	if err := f.build(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("build the fabric: %w", err), f.Close())
	}
	return f, nil
}

func (f *Fabric) build(ctx context.Context, cfg Config) error {
	if err := makeDir(cfg.Dir, cfg.Owner); err != nil {
		return err
	}
	alarm, err := newTimer()
	if err != nil {
		return err
	}
	f.scheduler = newScheduler(cfg.Clock, alarm)
	sockets := 0
	for _, nc := range cfg.Networks {
		n, err := newNetwork(f, cfg, nc, sockets)
		if err != nil {
			return err
		}
		sockets += len(nc.Hosts)
		f.networks = append(f.networks, n)
		f.byName[n.name] = n
	}
	if err := f.addRouters(cfg, f.pool); err != nil {
		return err
	}
	f.running.Go(f.scheduler.run)
	for _, n := range f.networks {
		if err := n.start(ctx, cfg, &f.running); err != nil {
			return fmt.Errorf("network %q: %w", n.name, err)
		}
	}
	for _, r := range f.routers {
		r.start(ctx.Done(), &f.running)
	}
	return nil
}

// addRouters makes the routers and their links, after those of the nodes.
func (f *Fabric) addRouters(cfg Config, pool *framePool) error {
	for _, rc := range cfg.Routers {
		r, err := f.newRouter(cfg, rc, pool)
		if err != nil {
			return err
		}
		f.routers = append(f.routers, r)
	}
	return nil
}

// makeDir makes the sockets' folder if there is none, for owner where that is another user.
func makeDir(dir string, owner *Owner) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && owner != nil && os.Geteuid() == 0 {
		err = os.Chown(dir, owner.UID, owner.GID)
	}
	if err != nil {
		return fmt.Errorf("make the folder for sockets: %w", err)
	}
	return nil
}

// Networks are all networks, in the order of the configuration.
func (f *Fabric) Networks() []*Network { return slices.Clone(f.networks) }

// Link finds the link of a node or router on a network.
func (f *Fabric) Link(owner, network string) (*Link, error) {
	n, err := f.Network(network)
	if err != nil {
		return nil, err
	}
	return n.Link(owner)
}

// Network finds a network by its name.
func (f *Fabric) Network(name string) (*Network, error) {
	if n, ok := f.byName[name]; ok {
		return n, nil
	}
	known := make([]string, len(f.networks))
	for i, n := range f.networks {
		known[i] = n.name
	}
	return nil, fmt.Errorf("no network %q; there are: %s", name, strings.Join(known, ", "))
}

// Socket is the path on which QEMU connects the node's NIC on a network.
func (f *Fabric) Socket(node, network string) (string, error) {
	l, err := f.Link(node, network)
	if err != nil {
		return "", err
	}
	if l.socket == nil {
		return "", fmt.Errorf("%q on network %q is a router, which needs no socket", node, network)
	}
	return l.socket.path, nil
}

// Dial opens a TCP connection to a port of the node over the control path, on the first of its networks where it is
// connected. The error tells a link that QEMU has not opened from a guest that does not answer and from one that refuses.
func (f *Fabric) Dial(ctx context.Context, node string, port uint16) (net.Conn, error) {
	n, l, err := f.linkOf(node)
	if err != nil {
		return nil, err
	}
	return n.dial(ctx, l, port)
}

// DialAddr is Dial to an address on a network, which need not be one of a node.
func (f *Fabric) DialAddr(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	n, err := f.Network(network)
	if err != nil {
		return nil, err
	}
	for _, l := range n.ordered {
		if l.addr == addr.Addr() {
			return n.dial(ctx, l, addr.Port())
		}
	}
	return n.control.dial(ctx, addr)
}

// linkOf is the node's first link that is connected, or else its first.
func (f *Fabric) linkOf(node string) (*Network, *Link, error) {
	var network *Network
	var link *Link
	for _, n := range f.networks {
		l, ok := n.links[node]
		if ok && l.Connected() {
			return n, l, nil
		}
		if ok && link == nil {
			network, link = n, l
		}
	}
	if link == nil {
		return nil, nil, fmt.Errorf("node %q is on no network", node)
	}
	return network, link, nil
}

// Close ends all links, connections and forwards, waits for every goroutine and removes the sockets. It may be called
// more than once and on a nil Fabric.
func (f *Fabric) Close() error {
	if f == nil {
		return nil
	}
	f.closeOnce.Do(func() { f.closeErr = f.close() })
	return f.closeErr
}

func (f *Fabric) close() error {
	f.cancel()
	var errs []error
	for _, fwd := range f.takeForwards() {
		errs = append(errs, fwd.Close())
	}
	for _, n := range f.networks {
		errs = append(errs, n.close())
	}
	if f.scheduler != nil {
		errs = append(errs, f.scheduler.stop())
	}
	f.running.Wait()
	for _, r := range f.routers {
		r.close()
	}
	for _, n := range f.networks {
		n.destroy()
	}
	if f.scheduler != nil {
		f.scheduler.empty()
	}
	return errors.Join(errs...)
}

// takeForwards closes the list of forwards and returns it.
func (f *Fabric) takeForwards() []*Forward {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	forwards := make([]*Forward, 0, len(f.forwards))
	for fwd := range f.forwards {
		forwards = append(forwards, fwd)
	}
	return forwards
}
