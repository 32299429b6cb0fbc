package fabric

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

const (
	portDNS  = 53
	ednsSize = 1232 // fits every path (dnsflagday.net/2020)
	namesTTL = 10   // seconds: a lab's names do not change, but a guest may be restored into another lab
)

// nameServer answers DNS on a gateway, over UDP and TCP.
type nameServer struct {
	names   names
	forward *resolver // nil on a hermetic network
	servers []*dns.Server
	serving sync.WaitGroup
}

// newNameServer starts to serve on the gateway's address.
func newNameServer(ctx context.Context, cfg Config, g *gateway) (*nameServer, error) {
	s := &nameServer{names: names{here: g.network.name, networks: cfg.Networks}}
	if g.network.cfg.online {
		s.forward = newResolver(cfg.Dialer, cfg.ResolvConf)
	}
	at := fullAddress(netip.AddrPortFrom(g.addr, portDNS))
	packets, err := gonet.DialUDP(g.stack, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("serve DNS: %w", err)
	}
	listener, err := gonet.ListenTCP(g.stack, at, ipv4.ProtocolNumber)
	if err != nil {
		_ = packets.Close()
		return nil, fmt.Errorf("serve DNS: %w", err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(ctx, w, q) })
	s.servers = []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: stackListener{listener}, Handler: handler}}
	for _, server := range s.servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		s.serving.Go(func() { _ = server.ActivateAndServe() }) // It ends when its listener is closed.
		<-started                                              // A shutdown before that would be refused.
	}
	return s, nil
}

// stackListener makes Close end an Accept that waits, as it does with the host's listeners.
type stackListener struct{ *gonet.TCPListener }

// Close implements net.Listener.
func (l stackListener) Close() error {
	l.Shutdown()
	return l.TCPListener.Close()
}

// close ends the service and waits for the answers under way. The context of newNameServer has ended before.
func (s *nameServer) close() {
	for _, server := range s.servers {
		_ = server.Shutdown() // The stack below is about to go; there is nobody left to tell.
	}
	s.serving.Wait()
}

func (s *nameServer) serve(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	answer := s.answer(ctx, q, addrOf(w.RemoteAddr()))
	if q.IsEdns0() != nil && answer.IsEdns0() == nil {
		answer.SetEdns0(ednsSize, false) // A resolver that sees none believes the server is too old for it.
	}
	if w.RemoteAddr().Network() == "udp" {
		answer.Truncate(udpSize(q))
	}
	_ = w.WriteMsg(answer) // A guest that has gone away asks again.
}

// answer makes the answer to a question of a guest at asker. It asks outside where the network may and the name is not the
// lab's, and otherwise knows at once.
func (s *nameServer) answer(ctx context.Context, q *dns.Msg, asker netip.Addr) *dns.Msg {
	reply := new(dns.Msg).SetReply(q)
	reply.RecursionAvailable = true
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return reply.SetRcode(q, dns.RcodeNotImplemented)
	}
	question := q.Question[0]
	name := strings.TrimSuffix(strings.ToLower(question.Name), ".")
	if addr, ok := reverseAddr(name); ok {
		if host := s.names.reverse(addr, asker); host != "" {
			return s.pointer(reply, question, host)
		}
		if s.forward == nil || s.names.ownsAddr(addr) {
			return missing(reply)
		}
		return s.forward.ask(ctx, q)
	}
	if addrs := s.names.lookup(name, asker); len(addrs) > 0 {
		return s.addresses(reply, question, addrs)
	}
	if s.forward == nil || s.names.owns(name) {
		return missing(reply)
	}
	return s.forward.ask(ctx, q)
}

// addresses answers for a name of the lab: A records, and an empty answer to any other type.
func (s *nameServer) addresses(reply *dns.Msg, q dns.Question, addrs []netip.Addr) *dns.Msg {
	reply.Authoritative = true
	if q.Qtype != dns.TypeA && q.Qtype != dns.TypeANY {
		reply.Ns = []dns.RR{authority()}
		return reply
	}
	for _, a := range addrs {
		reply.Answer = append(reply.Answer, &dns.A{Hdr: rrHeader(q.Name, dns.TypeA), A: a.AsSlice()})
	}
	return reply
}

func (s *nameServer) pointer(reply *dns.Msg, q dns.Question, host string) *dns.Msg {
	reply.Authoritative = true
	if q.Qtype != dns.TypePTR && q.Qtype != dns.TypeANY {
		reply.Ns = []dns.RR{authority()}
		return reply
	}
	reply.Answer = []dns.RR{&dns.PTR{Hdr: rrHeader(q.Name, dns.TypePTR), Ptr: host + "."}}
	return reply
}

func missing(reply *dns.Msg) *dns.Msg {
	reply.Authoritative = true
	reply.Rcode = dns.RcodeNameError
	reply.Ns = []dns.RR{authority()}
	return reply
}

// authority lets a guest remember briefly that there is no answer (RFC 2308).
func authority() dns.RR {
	return &dns.SOA{
		Hdr: rrHeader(domain+".", dns.TypeSOA), Ns: gatewayName + "." + domain + ".", Mbox: "root." + domain + ".",
		Serial: 1, Refresh: namesTTL, Retry: namesTTL, Expire: namesTTL, Minttl: namesTTL,
	}
}

func rrHeader(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: namesTTL}
}

// reverseAddr is the IPv4 address that a name in in-addr.arpa stands for.
func reverseAddr(name string) (netip.Addr, bool) {
	labels := strings.Split(strings.TrimSuffix(name, ".in-addr.arpa"), ".")
	if !strings.HasSuffix(name, ".in-addr.arpa") || len(labels) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[3-i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

// udpSize is how large an answer the client takes over UDP (RFC 6891).
func udpSize(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return max(dns.MinMsgSize, int(opt.UDPSize()))
	}
	return dns.MinMsgSize
}

func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
