package fabric

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	icmpPerSecond = 1000
	icmpBurst     = 100

	portDHCPServer = 67
	portDHCPClient = 68
)

// gateway is the network's own host: it answers ARP, ping, DNS and DHCP, and says no to packets that would leave, or lets
// TCP and UDP out where the network has internet.
type gateway struct {
	*endpoint
	network *Network
	leases  *leases
	egress  *egress // nil on a hermetic network
	names   *nameServer
	limiter *rate.Limiter
}

func newGateway(ctx context.Context, cfg Config, n *Network) (*gateway, error) {
	g := &gateway{network: n, leases: newLeases(n.cfg), limiter: rate.NewLimiter(icmpPerSecond, icmpBurst)}
	var err error
	g.endpoint, err = newEndpoint(endpointConfig{
		port: gatewayPort, mac: macFor(n.name, gatewayRole),
		addr: n.cfg.Gateway, subnet: n.cfg.Subnet, mtu: n.cfg.MTU, intercept: g.intercept,
	}, n.sw)
	if err != nil {
		return nil, err
	}
	if n.cfg.Internet {
		g.egress = newEgress(ctx, cfg, g)
	}
	if g.names, err = newNameServer(ctx, cfg, g); err != nil {
		g.endpoint.close()
		return nil, err
	}
	return g, nil
}

// intercept handles what the stack shall not see, and returns whether it shall see f.
func (g *gateway) intercept(f *frame) bool {
	ip := header.IPv4(f.bytes()[headerLen:])
	if !ip.IsValid(len(ip)) {
		return false
	}
	src, dst := netip.AddrFrom4(ip.SourceAddress().As4()), netip.AddrFrom4(ip.DestinationAddress().As4())
	if isDHCP(ip) && (dst == g.addr || f.dst() == broadcast) {
		g.answerDHCP(f, ip)
		return false
	}
	if dst == g.addr {
		return true
	}
	if f.dst() == broadcast {
		return false
	}
	if g.egress != nil && g.egress.allows(src, dst, ip.Protocol()) {
		return true
	}
	g.refuse(f, ip)
	return false
}

// isDHCP reports whether a valid IPv4 packet goes to the port of DHCP servers.
func isDHCP(ip header.IPv4) bool {
	p := ip.Payload()
	return ip.Protocol() == uint8(header.UDPProtocolNumber) && ip.FragmentOffset() == 0 &&
		len(p) >= header.UDPMinimumSize && binary.BigEndian.Uint16(p[2:]) == portDHCPServer
}

// refuse answers a packet that may not go on with "communication administratively prohibited" (RFC 1812, 5.2.7.1).
func (g *gateway) refuse(f *frame, ip header.IPv4) {
	if !mayAnswer(ip, g.subnet) || !g.limiter.AllowN(g.sw.clock(), 1) {
		return
	}
	g.send(prohibited(g.sw.pool, f, ip, g.mac, g.addr))
}

// answerDHCP sends the answer to a DHCP client, if there is one.
func (g *gateway) answerDHCP(f *frame, ip header.IPv4) {
	answer := g.leases.answer(ip.Payload()[header.UDPMinimumSize:])
	if answer == nil {
		return
	}
	to := f.src()
	if answer.to == everyone() {
		to = broadcast
	}
	g.send(udpFrame(g.sw.pool, udpPacket{
		srcMAC: g.mac, dstMAC: to,
		src: netip.AddrPortFrom(g.addr, portDHCPServer), dst: netip.AddrPortFrom(answer.to, portDHCPClient),
		payload: answer.payload,
	}))
}

// close ends what the gateway serves, then its stack. It is called once, after run has returned.
func (g *gateway) close() {
	g.names.close()
	g.egress.close()
	g.endpoint.close()
}
