package fabric

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// packetForward carries datagrams between the clients of a host's port and a guest: one flow per client, as a NAT would.
type packetForward struct {
	outside net.PacketConn
	to      *target

	mu      sync.Mutex
	flows   map[netip.AddrPort]net.Conn
	serving sync.WaitGroup
}

func newPacketForward(outside net.PacketConn, to *target) *packetForward {
	return &packetForward{outside: outside, to: to, flows: make(map[netip.AddrPort]net.Conn)}
}

// serve runs until the outside socket is closed, and then ends the flows.
func (p *packetForward) serve(life context.Context) {
	defer p.serving.Wait()
	defer p.closeFlows()
	buf := make([]byte, datagramSize)
	for {
		n, from, err := p.outside.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !pause(life, acceptRetry) {
				return
			}
			continue
		}
		client := from.(*net.UDPAddr).AddrPort()
		if guest := p.flow(client); guest != nil {
			_, _ = guest.Write(buf[:n]) // A datagram that gets lost is one.
		}
	}
}

// flow is the guest's side of a client's flow, opened where there is none; nil where no more can be.
func (p *packetForward) flow(client netip.AddrPort) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if guest, ok := p.flows[client]; ok {
		return guest
	}
	if len(p.flows) >= forwardFlows {
		return nil
	}
	guest, err := p.to.dialUDP()
	if err != nil {
		return nil
	}
	p.flows[client] = guest
	p.serving.Go(func() { p.answer(client, guest) })
	return guest
}

// answer carries the guest's datagrams to a client until none has come for long.
func (p *packetForward) answer(client netip.AddrPort, guest net.Conn) {
	defer p.end(client, guest)
	buf := make([]byte, datagramSize)
	for {
		if err := guest.SetReadDeadline(time.Now().Add(udpIdle)); err != nil {
			return
		}
		n, err := guest.Read(buf)
		if err != nil {
			return
		}
		if _, err := p.outside.WriteTo(buf[:n], net.UDPAddrFromAddrPort(client)); err != nil {
			return
		}
	}
}

func (p *packetForward) end(client netip.AddrPort, guest net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flows, client)
	_ = guest.Close()
}

func (p *packetForward) closeFlows() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, guest := range p.flows {
		_ = guest.Close()
	}
}
