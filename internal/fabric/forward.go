package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

const (
	forwardDial  = 10 * time.Second
	forwardFlows = 256
)

// Forward is a port of the host's loopback that leads to a port of a node, over the data path: the guest sees the gateway.
type Forward struct {
	addr    netip.AddrPort
	proto   string
	listen  interface{ Close() error }
	cancel  context.CancelFunc
	forget  func()
	serving sync.WaitGroup
	once    sync.Once
	err     error
}

// Addr is the address on the host, with the port that was picked where 0 was asked for.
func (w *Forward) Addr() netip.AddrPort { return w.addr }

// Close ends the forward and its connections and waits for them. It may be called more than once and on a nil Forward.
func (w *Forward) Close() error {
	if w == nil {
		return nil
	}
	w.once.Do(func() {
		w.cancel()
		w.err = w.listen.Close()
		w.serving.Wait()
		w.forget()
	})
	return w.err
}

// Forward opens host, a loopback address whose port may be 0 for any, and carries what comes there to a port of the node on
// the first of its networks that has a gateway. Proto is "tcp" or "udp". ctx bounds the opening alone; the caller, or the
// fabric, closes the forward.
func (f *Fabric) Forward(ctx context.Context, host netip.AddrPort, node string, guestPort uint16, proto string) (*Forward, error) {
	w, err := f.forward(ctx, host, node, guestPort, proto)
	if err != nil {
		return nil, fmt.Errorf("forward %s %s to port %d of node %q: %w", proto, host, guestPort, node, err)
	}
	return w, nil
}

func (f *Fabric) forward(ctx context.Context, host netip.AddrPort, node string, guestPort uint16, proto string) (*Forward, error) {
	if !host.Addr().IsLoopback() {
		return nil, errors.New("only a loopback address can be forwarded, such as 127.0.0.1")
	}
	g, to, err := f.gatewayOf(node)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Forward{proto: proto, cancel: cancel}
	w.forget = func() { f.forget(w) }
	target := &target{gateway: g, addr: netip.AddrPortFrom(to, guestPort)}
	if err := w.open(ctx, life, host, target); err != nil {
		cancel()
		return nil, err
	}
	if !f.remember(w) {
		return nil, errors.Join(errClosed, w.Close())
	}
	return w, nil
}

// open listens and begins to serve until life ends.
func (w *Forward) open(ctx, life context.Context, host netip.AddrPort, to *target) error {
	var lc net.ListenConfig
	switch w.proto {
	case "tcp":
		ln, err := lc.Listen(ctx, "tcp", host.String())
		if err != nil {
			return err
		}
		w.listen, w.addr = ln, ln.Addr().(*net.TCPAddr).AddrPort()
		w.serving.Go(func() { w.serveTCP(life, ln, to) })
	case "udp":
		pc, err := lc.ListenPacket(ctx, "udp", host.String())
		if err != nil {
			return err
		}
		w.listen, w.addr = pc, pc.LocalAddr().(*net.UDPAddr).AddrPort()
		w.serving.Go(func() { newPacketForward(pc, to).serve(life) })
	default:
		return fmt.Errorf("protocol %q, want tcp or udp", w.proto)
	}
	return nil
}

func (w *Forward) serveTCP(life context.Context, ln net.Listener, to *target) {
	slots := make(chan struct{}, forwardFlows)
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !pause(life, acceptRetry) {
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		w.serving.Go(func() {
			defer func() { <-slots }()
			guest, err := to.dial(life)
			if err != nil {
				_ = conn.Close()
				return
			}
			join(life, conn, guest)
		})
	}
}

// target is a guest's port seen from its gateway.
type target struct {
	gateway *gateway
	addr    netip.AddrPort
}

func (t *target) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardDial)
	defer cancel()
	return t.gateway.dial(ctx, t.addr)
}

// dialUDP opens a socket of the gateway's to the guest.
func (t *target) dialUDP() (net.Conn, error) {
	local, remote := fullAddress(netip.AddrPortFrom(t.gateway.addr, 0)), fullAddress(t.addr)
	return gonet.DialUDP(t.gateway.stack, &local, &remote, ipv4.ProtocolNumber)
}

// gatewayOf is the first gateway on the node's networks, and the node's address there.
func (f *Fabric) gatewayOf(node string) (*gateway, netip.Addr, error) {
	known := false
	for _, n := range f.networks {
		l, ok := n.links[node]
		if ok && n.gateway != nil {
			return n.gateway, l.addr, nil
		}
		known = known || ok
	}
	if known {
		return nil, netip.Addr{}, errors.New("none of its networks has a gateway")
	}
	return nil, netip.Addr{}, errors.New("it is on no network")
}

// remember makes Close close w, unless it has been called already.
func (f *Fabric) remember(w *Forward) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.forwards[w] = struct{}{}
	return true
}

func (f *Fabric) forget(w *Forward) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.forwards, w)
}
