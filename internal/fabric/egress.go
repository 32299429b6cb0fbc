package fabric

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	egressFlows  = 1024 // of TCP and UDP together
	egressDial   = 10 * time.Second
	tcpInFlight  = 256
	udpIdle      = 60 * time.Second // RFC 4787 asks for more, but DNS and NTP, which this serves, for less
	datagramSize = 65535
)

// egress lets TCP and UDP of a network out through the host's own network.
type egress struct {
	dialer  Dialer
	gateway *gateway
	labs    []netip.Prefix
	slots   chan struct{}

	mu      sync.Mutex
	closed  bool
	serving sync.WaitGroup
}

// newEgress makes the gateway's stack accept packets for every address; intercept lets in those that may go out.
func newEgress(ctx context.Context, cfg Config, g *gateway) *egress {
	e := &egress{dialer: cfg.Dialer, gateway: g, slots: make(chan struct{}, egressFlows)}
	for _, n := range cfg.Networks {
		e.labs = append(e.labs, n.Subnet)
	}
	_ = g.stack.SetPromiscuousMode(nic, true) // Both fail only for an unknown interface.
	_ = g.stack.SetSpoofing(nic, true)
	g.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	own := addressOf(g.addr)
	tcpForwarder := tcp.NewForwarder(g.stack, 0, tcpInFlight, func(r *tcp.ForwarderRequest) { e.openTCP(ctx, r) })
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		return id.LocalAddress != own && tcpForwarder.HandlePacket(id, pkt)
	})
	udpForwarder := udp.NewForwarder(g.stack, func(r *udp.ForwarderRequest) { e.openUDP(ctx, r) })
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		return id.LocalAddress != own && udpForwarder.HandlePacket(id, pkt)
	})
	return e
}

// allows tells whether packets of a protocol may go out: TCP and UDP from the network's own guests to addresses that are
// not the host itself, its links or the lab.
func (e *egress) allows(src, dst netip.Addr, protocol uint8) bool {
	if !e.gateway.subnet.Contains(src) {
		return false
	}
	if protocol != uint8(header.TCPProtocolNumber) && protocol != uint8(header.UDPProtocolNumber) {
		return false
	}
	if !dst.IsGlobalUnicast() || dst.As4()[0] == 0 || dst.As4()[0] >= 240 {
		return false
	}
	return !slices.ContainsFunc(e.labs, func(p netip.Prefix) bool { return p.Contains(dst) })
}

// begin takes a slot for a flow and makes close wait for it. It returns false where there is none.
func (e *egress) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	select {
	case e.slots <- struct{}{}:
		e.serving.Add(1)
		return true
	default:
		return false
	}
}

func (e *egress) end() {
	<-e.slots
	e.serving.Done()
}

// openTCP carries one connection. The guest's handshake is completed when the outside has answered, so that it sees a
// refusal as one.
func (e *egress) openTCP(ctx context.Context, r *tcp.ForwarderRequest) {
	if !e.begin() {
		r.Complete(true)
		return
	}
	defer e.end()
	dialCtx, cancel := context.WithTimeout(ctx, egressDial)
	outside, err := e.dialer.DialContext(dialCtx, "tcp", destinationOf(r.ID()))
	cancel()
	if err != nil {
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	ep, tcpErr := r.CreateEndpoint(&queue)
	r.Complete(tcpErr != nil)
	if tcpErr != nil {
		_ = outside.Close()
		return
	}
	join(ctx, gonet.NewTCPConn(&queue, ep), outside)
}

// openUDP begins one flow. It runs in the stack's receive path and leaves the waiting to a goroutine.
func (e *egress) openUDP(ctx context.Context, r *udp.ForwarderRequest) {
	if !e.begin() {
		return
	}
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	if err != nil {
		e.end()
		return
	}
	go func() {
		defer e.end()
		guest := gonet.NewUDPConn(&queue, ep)
		dialCtx, cancel := context.WithTimeout(ctx, egressDial)
		defer cancel()
		outside, err := e.dialer.DialContext(dialCtx, "udp", destinationOf(r.ID()))
		if err != nil {
			_ = guest.Close()
			return
		}
		joinPackets(ctx, guest, outside, udpIdle)
	}()
}

// destinationOf is where a guest's packet was going.
func destinationOf(id stack.TransportEndpointID) string {
	return netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort).String()
}

// close waits for the flows, which end with the context of newEgress.
func (e *egress) close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.serving.Wait()
}
