package fabric

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Network is one L2 segment: a switch with a link per node and router, a control endpoint and perhaps a gateway.
type Network struct {
	cfg         NetworkConfig
	name        string
	log         *slog.Logger
	sw          *vswitch
	parts       *partitions
	scheduler   *scheduler
	seed        uint64
	controlPath controlPath
	links       map[string]*Link
	ordered     []*Link
	control     *endpoint
	taps        *taps
	gateway     *gateway
}

// Name is the network's name.
func (n *Network) Name() string { return n.name }

// Links are the network's links, those of nodes first, in the order of the configuration.
func (n *Network) Links() []*Link { return slices.Clone(n.ordered) }

// Link is the link of a node or router on this network.
func (n *Network) Link(owner string) (*Link, error) {
	if l, ok := n.links[owner]; ok {
		return l, nil
	}
	known := make([]string, len(n.ordered))
	for i, l := range n.ordered {
		known[i] = l.owner
	}
	return nil, fmt.Errorf("%q is not on network %q, which has: %s", owner, n.name, strings.Join(known, ", "))
}

// newNetwork builds a network that is not yet listening. Sockets are numbered from first.
func newNetwork(f *Fabric, cfg Config, nc NetworkConfig, first int) (*Network, error) {
	n := &Network{
		cfg: nc, name: nc.Name, log: cfg.Log, parts: f.parts, scheduler: f.scheduler, seed: cfg.Seed,
		sw:    newSwitch(f.pool, cfg.Clock),
		links: make(map[string]*Link, len(nc.Hosts)),
	}
	n.taps = newTaps(n.sw.pool, n.sw.clock)
	n.controlPath = controlPath{mac: macFor(nc.Name, controlRole), ip: nc.Control.As4()}
	for i, h := range nc.Hosts {
		path := filepath.Join(cfg.Dir, fmt.Sprintf("l%d.sock", first+i))
		if len(path) > maxSocket {
			return nil, fmt.Errorf("socket path %s has %d bytes, at most %d are possible: choose a shorter folder", path, len(path), maxSocket)
		}
		newSocket(n.addLink(linkConfig{
			owner: h.Node, origin: f.parts.member(h.Node), addr: h.Addr, hw: macOf(h.MAC), conditions: h.Conditions,
		}), path)
	}
	var err error
	n.control, err = newEndpoint(endpointConfig{
		port: controlPort, mac: n.controlPath.mac, addr: nc.Control, subnet: nc.Subnet, mtu: nc.MTU,
	}, n.sw)
	if err != nil {
		return nil, fmt.Errorf("network %q: %w", n.name, err)
	}
	return n, nil
}

// What an endpoint's MAC is derived from, besides its network's name.
const (
	controlRole = "control"
	gatewayRole = "gateway"
)

// start opens the sockets and sets everything going that ends with ctx and close; running counts the goroutines.
func (n *Network) start(ctx context.Context, cfg Config, running *sync.WaitGroup) error {
	if n.cfg.Gateway.IsValid() {
		var err error
		if n.gateway, err = newGateway(ctx, cfg, n); err != nil {
			return err
		}
		running.Go(func() { n.gateway.run(ctx.Done()) })
	}
	running.Go(func() { n.control.run(ctx.Done()) })
	for _, s := range n.sockets() {
		if err := s.listen(ctx, cfg.Owner); err != nil {
			return err
		}
		running.Go(func() { s.serve(ctx) })
	}
	return nil
}

// close ends the links. The endpoints end with the context of start; destroy takes them down after that.
func (n *Network) close() error {
	var errs []error
	for _, s := range n.sockets() {
		errs = append(errs, s.close())
	}
	n.taps.close()
	return errors.Join(errs...)
}

// sockets are those of the nodes' links.
func (n *Network) sockets() []*socket {
	var list []*socket
	for _, l := range n.ordered {
		if l.socket != nil {
			list = append(list, l.socket)
		}
	}
	return list
}

func (n *Network) destroy() {
	n.control.close()
	if n.gateway != nil {
		n.gateway.close()
	}
}

// deadPort stands in for an endpoint that a network does not have.
type deadPort struct{ pool *framePool }

func (d deadPort) deliver(batch []*frame) { d.pool.release(batch) }
func (deadPort) dropped(Cause, int)       {}

// macFor derives a locally administered unicast address from a network's name and a role.
func macFor(network, role string) mac {
	sum := sha256.Sum256([]byte("ionlab\x00" + network + "\x00" + role))
	return macOf([]byte{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]})
}
