package fabric

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"ionlab/internal/fabric/nat"
)

// segmentOf is a network 10.third.0.0/24 with nodes at .11, .12, ...
func segmentOf(name string, third byte, nodes ...string) NetworkConfig {
	n := subnet(name, third, len(nodes))
	for i, node := range nodes {
		n.Hosts[i].Node = node
	}
	return n
}

// routerAt is a router between two segments, at .200 plus its number in each.
func routerAt(number byte, name, inside string, in byte, outside string, out byte, cfg nat.Config) RouterConfig {
	place := func(network string, third byte) Interface {
		return Interface{Network: network, Addr: addr4(third, 200+number), MAC: net.HardwareAddr{0x06, 1, number, third, 0, 1}}
	}
	return RouterConfig{Name: name, Inside: place(inside, in), Outside: place(outside, out), NAT: cfg}
}

func preset(t testing.TB, name string) nat.Config {
	t.Helper()
	cfg, err := nat.Preset(name)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return cfg
}

// toAll is a route to everywhere.
func toAll(via netip.Addr) Route { return Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: via} }

// twoSites has "home" with alice and anna behind the router "gw", and "wan" with bob and carl outside.
func twoSites(t testing.TB, cfg nat.Config, change func(*Config)) (*Fabric, *Router) {
	t.Helper()
	f := newFabric(t, func(c *Config) {
		c.Routers = []RouterConfig{routerAt(0, "gw", "home", 20, "wan", 30, cfg)}
		if change != nil {
			change(c)
		}
	}, segmentOf("home", 20, "alice", "anna"), segmentOf("wan", 30, "bob", "carl"))
	r, err := f.Router("gw")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return f, r
}

// through makes a router the guest's default route, or the route to one of the segments.
func (gu *guest) through(router netip.Addr, thirds ...byte) *guest {
	local := tcpip.AddressWithPrefix{Address: addressOf(gu.host.Addr), PrefixLen: 24}
	routes := []tcpip.Route{{Destination: local.Subnet(), NIC: nic}}
	for _, third := range thirds {
		to := tcpip.AddressWithPrefix{Address: addressOf(addr4(third, 0)), PrefixLen: 24}
		routes = append(routes, tcpip.Route{Destination: to.Subnet(), Gateway: addressOf(router), NIC: nic})
	}
	if len(thirds) == 0 {
		routes = append(routes, tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: addressOf(router), NIC: nic})
	}
	gu.stack.SetRouteTable(routes)
	return gu
}

// udp opens a socket on a port, for any peer.
func (gu *guest) udp(t testing.TB, port uint16) *datagrams {
	t.Helper()
	local := fullAddress(netip.AddrPortFrom(gu.host.Addr, port))
	conn, err := gonet.DialUDP(gu.stack, &local, nil, ipv4.ProtocolNumber)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = conn.Close() })
	return &datagrams{t, conn}
}

// datagrams is a UDP socket.
type datagrams struct {
	t    testing.TB
	conn *gonet.UDPConn
}

func (d *datagrams) send(to, text string) {
	d.t.Helper()
	_, err := d.conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
}

// recv waits for a datagram and returns its text and sender.
func (d *datagrams) recv() (text, from string) {
	d.t.Helper()
	text, from, err := d.tryRecv(patience)
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return text, from
}

func (d *datagrams) tryRecv(wait time.Duration) (text, from string, err error) {
	b := make([]byte, 65536)
	_ = d.conn.SetReadDeadline(time.Now().Add(wait))
	n, addr, err := d.conn.ReadFrom(b)
	if err != nil {
		return "", "", err
	}
	return string(b[:n]), addr.String(), nil
}

// hears tells whether text arrives within a moment.
func (d *datagrams) hears(text string) bool {
	got, _, err := d.tryRecv(100 * time.Millisecond)
	return err == nil && got == text
}

// tellAddresses answers each connection with the address it sees.
func tellAddresses(t testing.TB, ln net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(conn, conn.RemoteAddr())
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
}

// dialFrom opens a TCP connection from a port of the guest.
func (gu *guest) dialFrom(ctx context.Context, port uint16, to string) (net.Conn, error) {
	local := fullAddress(netip.AddrPortFrom(gu.host.Addr, port))
	return gonet.DialTCPWithBind(ctx, gu.stack, local, fullAddress(netip.MustParseAddrPort(to)), ipv4.ProtocolNumber)
}
