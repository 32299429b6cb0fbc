package fabric

import (
	"context"
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	resolveTimeout  = 5 * time.Second // for one server
	resolveInFlight = 256
)

// resolver passes questions on to the host's name servers.
type resolver struct {
	dialer Dialer
	conf   string
	slots  chan struct{}
}

func newResolver(dialer Dialer, conf string) *resolver {
	return &resolver{dialer: dialer, conf: conf, slots: make(chan struct{}, resolveInFlight)}
}

// ask tries the host's servers in turn. Where none answers, and where too many questions are open, the answer is that the
// server failed.
func (r *resolver) ask(ctx context.Context, q *dns.Msg) *dns.Msg {
	failed := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return failed
	}
	conf, err := dns.ClientConfigFromFile(r.conf)
	if err != nil {
		return failed
	}
	for _, server := range conf.Servers {
		if answer, err := r.exchange(ctx, q, net.JoinHostPort(server, conf.Port)); err == nil {
			answer.Id = q.Id
			return answer
		}
	}
	return failed
}

// exchange asks one server by UDP, and by TCP where the answer does not fit.
func (r *resolver) exchange(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	answer, err := r.exchangeBy(ctx, "udp", q, server)
	if err == nil && answer.Truncated {
		return r.exchangeBy(ctx, "tcp", q, server)
	}
	return answer, err
}

func (r *resolver) exchangeBy(ctx context.Context, network string, q *dns.Msg, server string) (*dns.Msg, error) {
	conn, err := r.dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client := dns.Client{Net: network, Timeout: resolveTimeout}
	answer, _, err := client.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize - 1})
	return answer, err
}
