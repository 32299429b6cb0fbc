package fabric

import (
	"net"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

func TestForwardTCP(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	a := boot(t, f, "a", "lan")
	ln := a.listen(t, 80)
	peer := make(chan netip.Addr, 1)
	echo(t, &tellPeer{Listener: ln, peer: peer})
	w, err := f.Forward(within(t), anyPort, "a", 80, "tcp")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Addr().Addr().IsLoopback()).To(BeTrue())
	g.Expect(w.Addr().Port()).NotTo(BeZero())

	conn, err := net.Dial("tcp", w.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "through the gateway")
	g.Expect(<-peer).To(Equal(addr4(20, 1)), "the guest sees the gateway, on the data path")

	g.Expect(w.Close()).To(Succeed())
	g.Expect(w.Close()).To(Succeed())
	_, err = net.Dial("tcp", w.Addr().String())
	g.Expect(err).To(HaveOccurred())
	var none *Forward
	g.Expect(none.Close()).To(Succeed())
}

// tellPeer reports who connects.
type tellPeer struct {
	net.Listener
	peer chan netip.Addr
}

func (l *tellPeer) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.peer <- addrOf(conn.RemoteAddr())
	}
	return conn, err
}

func TestForwardToNobodyClosesTheConnection(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	boot(t, f, "a", "lan")
	w, err := f.Forward(within(t), anyPort, "a", 80, "tcp")
	g.Expect(err).NotTo(HaveOccurred())
	conn, err := net.Dial("tcp", w.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = conn.Read(make([]byte, 1))
	g.Expect(err).To(HaveOccurred())
	g.Expect(isTimeout(err)).To(BeFalse())
}

func TestForwardUDP(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	a := boot(t, f, "a", "lan")
	at := fullAddress(netip.AddrPortFrom(a.host.Addr, 9000))
	server, err := gonet.DialUDP(a.stack, &at, nil, ipv4.ProtocolNumber)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = server.Close() }()
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(append([]byte("you said "), buf[:n]...), from)
		}
	}()
	w, err := f.Forward(within(t), anyPort, "a", 9000, "udp")
	g.Expect(err).NotTo(HaveOccurred())
	for _, text := range []string{"one", "two"} { // Two clients, two flows.
		conn, err := net.Dial("udp", w.Addr().String())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(conn.SetDeadline(time.Now().Add(patience))).To(Succeed())
		for range 3 {
			_, err = conn.Write([]byte(text))
			g.Expect(err).NotTo(HaveOccurred())
			buf := make([]byte, 2000)
			n, err := conn.Read(buf)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(buf[:n])).To(Equal("you said " + text))
		}
		g.Expect(conn.Close()).To(Succeed())
	}
	g.Expect(w.Close()).To(Succeed())
}

func TestForwardTellsWhatIsWrong(t *testing.T) {
	bare := subnet("bare", 40, 2)
	bare.Gateway = netip.Addr{}
	bare.Hosts = bare.Hosts[1:]
	f := newFabric(t, nil, lan(1), bare)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer func() { _ = busy.Close() }()
	for _, test := range []struct{ host, node, proto, message string }{
		{"0.0.0.0:0", "a", "tcp", `forward tcp 0.0.0.0:0 to port 80 of node "a": only a loopback address can be forwarded, such as 127.0.0.1`},
		{"127.0.0.1:0", "x", "tcp", `forward tcp 127.0.0.1:0 to port 80 of node "x": it is on no network`},
		{"127.0.0.1:0", "b", "tcp", `forward tcp 127.0.0.1:0 to port 80 of node "b": none of its networks has a gateway`},
		{"127.0.0.1:0", "a", "sctp", `forward sctp 127.0.0.1:0 to port 80 of node "a": protocol "sctp", want tcp or udp`},
		{busy.Addr().String(), "a", "tcp", "address already in use"},
	} {
		_, err := f.Forward(within(t), netip.MustParseAddrPort(test.host), test.node, 80, test.proto)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(test.message)))
	}
}
