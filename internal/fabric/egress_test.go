package fabric

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
)

func online(t *testing.T, to redirect) *Fabric {
	t.Helper()
	network := lan(2)
	network.Internet = true
	return newFabric(t, func(c *Config) { c.Dialer = to }, network, subnet("wan", 30, 1))
}

func TestInternetCarriesTCP(t *testing.T) {
	g := NewWithT(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.Host)
	}))
	defer server.Close()
	f := online(t, func(network, address string) string {
		if network == "tcp" && address == "192.0.2.7:80" {
			return server.Listener.Addr().String()
		}
		return ""
	})
	a := boot(t, f, "a", "lan")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return a.dial(ctx, address) }}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: patience}
	response, err := client.Get("http://192.0.2.7/")
	g.Expect(err).NotTo(HaveOccurred())
	body, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(body)).To(Equal("hello 192.0.2.7"))

	_, err = a.dial(within(t), "192.0.2.8:80")
	g.Expect(err).To(MatchError(ContainSubstring("connection was refused")))
	_, err = a.dial(within(t), "10.20.0.1:80")
	g.Expect(err).To(MatchError(ContainSubstring("connection was refused")), "the gateway's own ports do not lead out")
}

func TestInternetPassesOnHalfClose(t *testing.T) {
	g := NewWithT(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	echo(t, ln)
	f := online(t, func(string, string) string { return ln.Addr().String() })
	conn, err := boot(t, f, "a", "lan").dial(within(t), "192.0.2.7:7")
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, strings.Repeat("all of it ", 50000))
}

func TestInternetCarriesUDP(t *testing.T) {
	g := NewWithT(t)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = server.Close() }()
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo([]byte(strings.ToUpper(string(buf[:n]))), from)
		}
	}()
	f := online(t, func(network, address string) string {
		if network != "udp" || address != "192.0.2.7:123" {
			return ""
		}
		return server.LocalAddr().String()
	})
	conn := boot(t, f, "a", "lan").dialUDP(t, "192.0.2.7:123")
	g.Expect(conn.SetDeadline(time.Now().Add(patience))).To(Succeed())
	for range 3 {
		_, err = conn.Write([]byte("time?"))
		g.Expect(err).NotTo(HaveOccurred())
		buf := make([]byte, 2000)
		n, err := conn.Read(buf)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(buf[:n])).To(Equal("TIME?"))
	}
}

func TestInternetNeverLeadsToTheHostOrTheLab(t *testing.T) {
	f := online(t, func(network, address string) string {
		t.Errorf("dialed %s %s", network, address)
		return ""
	})
	a := connect(t, f, "a", "lan")
	for _, to := range []string{
		"127.0.0.1", "127.1.2.3", "169.254.169.254", "0.0.0.0", "0.1.2.3", "240.0.0.1", "10.20.0.50", "10.30.0.11", "10.30.0.1",
	} {
		t.Run(to, func(t *testing.T) {
			g := NewWithT(t)
			a.t = t
			a.send(a.ip(netip.MustParseAddr(to), layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 22, SYN: true}))
			answer := parse(a.recv()).Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			g.Expect(answer.TypeCode).To(Equal(layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, 13)))
		})
	}
	t.Run("from a foreign address", func(t *testing.T) {
		a.t = t
		a.send(a.ipPacket(&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IPv4(8, 8, 8, 8), DstIP: outside.AsSlice()},
			&layers.TCP{SrcPort: 1, DstPort: 22, SYN: true}))
		a.silent()
	})
	t.Run("ping", func(t *testing.T) {
		a.t = t
		a.send(a.ip(outside, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}))
		NewWithT(t).Expect(parse(a.recv()).Layer(layers.LayerTypeICMPv4)).To(HaveField("TypeCode",
			layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, 13)))
	})
}

// stuck is a Dialer that waits until it is told to give up.
type stuck chan struct{}

func (s stuck) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	s <- struct{}{}
	<-ctx.Done()
	return nil, errors.New("gave up")
}

func TestCloseEndsFlowsThatWait(t *testing.T) {
	g := NewWithT(t)
	network := lan(1)
	network.Internet = true
	dialing := make(stuck, 2)
	f := newFabric(t, func(c *Config) { c.Dialer = dialing }, network)
	a := boot(t, f, "a", "lan")
	go func() { _, _ = a.dial(within(t), "192.0.2.7:80") }()
	<-dialing
	_, err := a.dialUDP(t, "192.0.2.7:80").Write([]byte("x"))
	g.Expect(err).NotTo(HaveOccurred())
	<-dialing
	began := time.Now()
	g.Expect(f.Close()).To(Succeed())
	g.Expect(time.Since(began)).To(BeNumerically("<", 5*time.Second))
}

func TestIdleFlowsEnd(t *testing.T) {
	g := NewWithT(t)
	pair := func() (near, far net.Conn) {
		ln, err := net.ListenPacket("udp", "127.0.0.1:0")
		g.Expect(err).NotTo(HaveOccurred())
		near, err = net.Dial("udp", ln.LocalAddr().String())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(ln.Close()).To(Succeed())
		far, err = (&net.Dialer{LocalAddr: ln.LocalAddr()}).Dial("udp", near.LocalAddr().String())
		g.Expect(err).NotTo(HaveOccurred())
		return near, far
	}
	a, aFar := pair()
	b, bFar := pair()
	defer func() { _, _ = aFar.Close(), bFar.Close() }()
	done := make(chan struct{})
	const idle = 200 * time.Millisecond
	go func() {
		defer close(done)
		joinPackets(t.Context(), a, b, idle)
	}()
	// Traffic one way keeps both ways open.
	began := time.Now()
	buf := make([]byte, 10)
	ticker := time.NewTicker(idle / 10)
	defer ticker.Stop()
	for time.Since(began) < 2*idle {
		_, err := aFar.Write([]byte("x"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(bFar.SetReadDeadline(time.Now().Add(patience))).To(Succeed())
		_, err = bFar.Read(buf)
		g.Expect(err).NotTo(HaveOccurred())
		<-ticker.C
	}
	g.Expect(done).NotTo(BeClosed())
	g.Eventually(done).WithTimeout(patience).Should(BeClosed())
}
