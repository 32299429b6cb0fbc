package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The sentinels of Dial: a caller that waits for a machine goes on trying after each of them.
var (
	// ErrNotConnected means that no QEMU has opened the link.
	ErrNotConnected = errors.New("its QEMU has not opened the link")
	// ErrNoAnswer means that no machine answers for the address.
	ErrNoAnswer = errors.New("no answer to ARP")
	// ErrRefused means that the guest answers and nothing listens on the port.
	ErrRefused = errors.New("connection refused")

	errClosed = errors.New("the fabric is closed")
)

func (n *Network) dial(ctx context.Context, l *Link, port uint16) (net.Conn, error) {
	if !l.Connected() {
		return nil, fmt.Errorf("dial port %d: node %q is not connected to network %q yet: %w", port, l.owner, n.name, ErrNotConnected)
	}
	conn, err := n.control.dial(ctx, netip.AddrPortFrom(l.addr, port))
	if err != nil {
		return nil, fmt.Errorf("node %q on network %q: %w", l.owner, n.name, err)
	}
	return conn, nil
}

// dial opens a TCP connection from the endpoint.
func (e *endpoint) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if !e.subnet.Contains(addr.Addr()) {
		return nil, fmt.Errorf("dial %s: not in %s", addr, e.subnet)
	}
	if !e.begin() {
		return nil, fmt.Errorf("dial %s: %w", addr, errClosed)
	}
	defer e.dialing.Done()
	ctx, cancel := e.untilClosed(ctx)
	defer cancel(nil)
	conn, err := gonet.DialContextTCP(ctx, e.stack, fullAddress(addr), ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, e.explain(ctx, addr.Addr(), err))
	}
	return conn, nil
}

// untilClosed derives a context that also ends with the endpoint.
func (e *endpoint) untilClosed(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	e.dialing.Go(func() {
		select {
		case <-e.closing:
			cancel(errClosed)
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// explain tells what a failed dial means. The adapter has only the text of the stack's errors.
func (e *endpoint) explain(ctx context.Context, to netip.Addr, err error) error {
	text := err.Error()
	switch {
	case ctx.Err() != nil && e.unresolved(to):
		return fmt.Errorf("%w from %s: %w", ErrNoAnswer, to, context.Cause(ctx))
	case ctx.Err() != nil:
		return fmt.Errorf("no answer to TCP from %s: %w", to, context.Cause(ctx))
	case strings.HasSuffix(text, (&tcpip.ErrHostUnreachable{}).String()):
		return fmt.Errorf("%w from %s", ErrNoAnswer, to)
	case strings.HasSuffix(text, (&tcpip.ErrConnectionRefused{}).String()):
		return ErrRefused
	}
	return err
}

// unresolved reports whether the stack is still asking by ARP for an address.
func (e *endpoint) unresolved(to netip.Addr) bool {
	neighbors, err := e.stack.Neighbors(nic, ipv4.ProtocolNumber)
	if err != nil {
		return false
	}
	for _, n := range neighbors {
		if n.Addr == addressOf(to) {
			return n.State == stack.Incomplete || n.State == stack.Unreachable
		}
	}
	return true
}
