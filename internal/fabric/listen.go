package fabric

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// Listen opens a TCP port of the control address on the network over which Dial would reach the node: what the node sends
// there takes the control path. Other nodes of that network can connect too. The caller closes the listener; the fabric's
// end closes it as well.
func (f *Fabric) Listen(node string) (net.Listener, error) {
	n, _, err := f.linkOf(node)
	if err != nil {
		return nil, err
	}
	ln, err := n.control.listen()
	if err != nil {
		return nil, fmt.Errorf("listen for node %q on network %q: %w", node, n.name, err)
	}
	return ln, nil
}

// listen opens any free TCP port of the endpoint.
func (e *endpoint) listen() (net.Listener, error) {
	if !e.begin() {
		return nil, errClosed
	}
	defer e.dialing.Done()
	ln, err := gonet.ListenTCP(e.stack, fullAddress(netip.AddrPortFrom(e.addr, 0)), ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return &listener{TCPListener: ln}, nil
}

// listener is an adapter's listener whose Close ends Accept too, and may be called more than once.
type listener struct {
	*gonet.TCPListener
	once sync.Once
	err  error
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.Shutdown()
		l.err = l.TCPListener.Close()
	})
	return l.err
}
