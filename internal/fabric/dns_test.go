package fabric

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
	. "github.com/onsi/gomega"
)

// twoNetworks has node a on lan alone, b on both, c on wan alone.
func twoNetworks() []NetworkConfig {
	lan, wan := subnet("lan", 20, 2), subnet("wan", 30, 3)
	wan.Hosts = wan.Hosts[1:]
	return []NetworkConfig{lan, wan}
}

func TestNames(t *testing.T) {
	onLAN := names{here: "lan", networks: twoNetworks()}
	onWAN := names{here: "wan", networks: twoNetworks()}
	a, b, bw, c := addr4(20, 11), addr4(20, 12), addr4(30, 12), addr4(30, 13)
	for _, test := range []struct {
		names names
		asker netip.Addr
		name  string
		want  string
	}{
		{onLAN, a, "a", "10.20.0.11"},
		{onLAN, a, "b", "10.20.0.12"},
		{onLAN, a, "b.lab", "10.20.0.12"},
		{onLAN, a, "b.lan", "10.20.0.12"},
		{onLAN, a, "b.lan.lab", "10.20.0.12"},
		{onLAN, a, "gateway", "10.20.0.1"},
		{onLAN, a, "gateway.lan", "10.20.0.1"},
		{onLAN, a, "gateway.lab", "10.20.0.1"},
		{onLAN, a, "gateway.lan.lab", "10.20.0.1"},
		{onLAN, a, "c", ""},
		{onLAN, a, "c.wan", ""},
		{onLAN, a, "b.wan", ""},
		{onLAN, a, "gateway.wan", ""},
		{onLAN, a, "a.b.lan", ""},
		{onLAN, a, "lab", ""},
		{onLAN, a, "lan", ""},
		{onLAN, a, "", ""},
		{onLAN, a, "example.com", ""},
		// b is on both, and asks whichever server its resolver likes.
		{onLAN, b, "c", "10.30.0.13"},
		{onLAN, b, "c.wan.lab", "10.30.0.13"},
		{onLAN, b, "b", "10.20.0.12"},
		{onWAN, bw, "b", "10.30.0.12"},
		{onWAN, bw, "a", "10.20.0.11"},
		{onWAN, c, "a", ""},
		{onWAN, c, "b", "10.30.0.12"},
		{onLAN, addr4(20, 77), "b", "10.20.0.12"}, // An address that is nobody's: the network asked on.
		{onLAN, addr4(20, 77), "c", ""},
	} {
		got := test.names.lookup(test.name, test.asker)
		if test.want == "" {
			NewWithT(t).Expect(got).To(BeEmpty(), "%s asks for %q", test.asker, test.name)
			continue
		}
		NewWithT(t).Expect(got).To(Equal([]netip.Addr{netip.MustParseAddr(test.want)}), "%s asks for %q", test.asker, test.name)
	}
}

// ask sends one question from a guest to its gateway.
func ask(t *testing.T, gu *guest, network, name string, kind uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, kind)
	var conn net.Conn
	if network == "tcp" {
		var err error
		conn, err = gu.dial(within(t), "10.20.0.1:53")
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		defer func() { _ = conn.Close() }()
	} else {
		conn = gu.dialUDP(t, "10.20.0.1:53")
	}
	client := dns.Client{Net: network, Timeout: patience}
	began := time.Now()
	answer, _, err := client.ExchangeWithConnContext(within(t), q, &dns.Conn{Conn: stream(network, conn)})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(time.Since(began)).To(BeNumerically("<", 4*time.Second), "never a timeout")
	return answer
}

// stream hides WriteTo of a packet connection, by which the client would take TCP for UDP and the reverse.
func stream(network string, conn net.Conn) net.Conn {
	if network == "tcp" {
		return struct{ net.Conn }{conn}
	}
	return conn
}

func TestDNSServesTheLab(t *testing.T) {
	f := newFabric(t, nil, twoNetworks()...)
	a := boot(t, f, "a", "lan")
	for _, test := range []struct {
		network, name string
		kind          uint16
		rcode         int
		want          string
	}{
		{"udp", "b.", dns.TypeA, dns.RcodeSuccess, "10.20.0.12"},
		{"tcp", "b.", dns.TypeA, dns.RcodeSuccess, "10.20.0.12"},
		{"udp", "B.Lan.LAB.", dns.TypeA, dns.RcodeSuccess, "10.20.0.12"},
		{"udp", "b.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"udp", "b.lab.", dns.TypeMX, dns.RcodeSuccess, ""},
		{"udp", "c.", dns.TypeA, dns.RcodeNameError, ""},
		{"udp", "example.com.", dns.TypeA, dns.RcodeNameError, ""},
		{"tcp", "example.com.", dns.TypeAAAA, dns.RcodeNameError, ""},
		{"udp", "12.0.20.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "b.lan.lab."},
		{"udp", "1.0.20.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "gateway.lan.lab."},
		{"udp", "12.0.20.10.in-addr.arpa.", dns.TypeTXT, dns.RcodeSuccess, ""},
		{"udp", "13.0.30.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
		{"udp", "8.8.8.8.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
		{"udp", "300.0.20.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
	} {
		t.Run(test.network+" "+test.name+" "+dns.TypeToString[test.kind], func(t *testing.T) {
			g := NewWithT(t)
			answer := ask(t, a, test.network, test.name, test.kind)
			g.Expect(dns.RcodeToString[answer.Rcode]).To(Equal(dns.RcodeToString[test.rcode]))
			if test.want == "" {
				g.Expect(answer.Answer).To(BeEmpty())
				g.Expect(answer.Ns).To(HaveLen(1), "a SOA record, to remember by")
				return
			}
			g.Expect(answer.Answer).To(HaveLen(1))
			switch rr := answer.Answer[0].(type) {
			case *dns.A:
				g.Expect(rr.A.String()).To(Equal(test.want))
			case *dns.PTR:
				g.Expect(rr.Ptr).To(Equal(test.want))
			}
		})
	}
}

// upstream is a name server of the host's, and a Dialer that leads there whatever it is asked for.
func upstream(t *testing.T, handler dns.HandlerFunc) (Dialer, string) {
	t.Helper()
	g := NewWithT(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	ln, err := net.Listen("tcp", pc.LocalAddr().String())
	g.Expect(err).NotTo(HaveOccurred())
	for _, server := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: ln, Handler: handler}} {
		done := make(chan struct{})
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(done)
			_ = server.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	g.Expect(os.WriteFile(conf, []byte("nameserver 192.0.2.53\n"), 0o600)).To(Succeed())
	return redirect(func(network, _ string) string { return pc.LocalAddr().String() }), conf
}

// redirect is a Dialer that goes to another address than it is told, or refuses where that is "".
type redirect func(network, address string) string

func (r redirect) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to := r(network, address)
	if to == "" {
		return nil, errors.New("refused")
	}
	var d net.Dialer
	return d.DialContext(ctx, network, to)
}

func TestDNSAsksTheHostsServers(t *testing.T) {
	dialer, conf := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		big := q.Question[0].Name == "big.example."
		if big && w.RemoteAddr().Network() == "udp" {
			reply.Truncated = true
		} else {
			for i := range 100 {
				reply.Answer = append(reply.Answer, &dns.A{Hdr: rrHeader(q.Question[0].Name, dns.TypeA), A: net.IPv4(198, 51, 100, byte(i))})
				if !big {
					break
				}
			}
		}
		_ = w.WriteMsg(reply)
	})
	network := lan(2)
	network.Internet = true
	f := newFabric(t, func(c *Config) { c.Dialer, c.ResolvConf = dialer, conf }, network)
	a := boot(t, f, "a", "lan")
	g := NewWithT(t)

	answer := ask(t, a, "udp", "example.com.", dns.TypeA)
	g.Expect(answer.Answer).To(HaveLen(1))
	g.Expect(answer.Answer[0].(*dns.A).A.String()).To(Equal("198.51.100.0"))
	g.Expect(ask(t, a, "udp", "b.", dns.TypeA).Answer[0].(*dns.A).A.String()).To(Equal("10.20.0.12"))
	for _, own := range []string{"nobody.", "nobody.lab.", "nobody.lan.", "99.0.20.10.in-addr.arpa."} {
		g.Expect(ask(t, a, "udp", own, dns.TypeA).Rcode).To(Equal(dns.RcodeNameError), "%s is never asked outside", own)
	}
	g.Expect(ask(t, a, "tcp", "big.example.", dns.TypeA).Answer).To(HaveLen(100))
	cut := ask(t, a, "udp", "big.example.", dns.TypeA)
	g.Expect(cut.Truncated).To(BeTrue())
	cut.Compress = true // As it was on the wire.
	g.Expect(cut.Len()).To(BeNumerically("<=", 512))
}

func TestDNSWithoutAServerFailsAtOnce(t *testing.T) {
	g := NewWithT(t)
	network := lan(1)
	network.Internet = true
	conf := filepath.Join(t.TempDir(), "none")
	f := newFabric(t, func(c *Config) { c.Dialer, c.ResolvConf = redirect(func(string, string) string { return "" }), conf }, network)
	a := boot(t, f, "a", "lan")
	g.Expect(ask(t, a, "udp", "example.com.", dns.TypeA).Rcode).To(Equal(dns.RcodeServerFailure), "no resolv.conf")
	g.Expect(os.WriteFile(conf, []byte("nameserver 192.0.2.53\n"), 0o600)).To(Succeed())
	g.Expect(ask(t, a, "udp", "example.com.", dns.TypeA).Rcode).To(Equal(dns.RcodeServerFailure), "the server refuses")
}

func TestDNSSpeaksEDNSWithThoseWhoDo(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a := boot(t, f, "a", "lan")
	q := new(dns.Msg).SetQuestion("b.", dns.TypeA).SetEdns0(4096, true)
	client := dns.Client{Timeout: patience}
	answer, _, err := client.ExchangeWithConnContext(within(t), q, &dns.Conn{Conn: a.dialUDP(t, "10.20.0.1:53")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(answer.IsEdns0()).NotTo(BeNil())
	g.Expect(answer.IsEdns0().UDPSize()).To(BeEquivalentTo(ednsSize))
	g.Expect(ask(t, a, "udp", "b.", dns.TypeA).IsEdns0()).To(BeNil())

	notify := new(dns.Msg).SetNotify("lab.")
	answer, _, err = client.ExchangeWithConnContext(within(t), notify, &dns.Conn{Conn: a.dialUDP(t, "10.20.0.1:53")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(answer.Rcode).To(Equal(dns.RcodeNotImplemented))
}
