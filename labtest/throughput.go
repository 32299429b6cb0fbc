package labtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ionlab/internal/poll"
)

// ThroughputOptions are what may be chosen for Node.Throughput.
type ThroughputOptions struct {
	// Duration is how long data is sent, in whole seconds, rounded up; 5 s when 0.
	Duration time.Duration
	// Omit is how much of the beginning does not count, in which TCP finds its pace; Duration comes on top. None when 0.
	Omit time.Duration
	// UDP sends datagrams at this rate; TCP as fast as it goes when 0.
	UDP Rate
	// PacketSize is that of the datagrams' payload in bytes; 1400 when 0.
	PacketSize int
	// Streams is how many connections share the work; 1 when 0.
	Streams int
	// Reverse lets the peer send and the node receive.
	Reverse bool
	// Network is the one whose address of the peer is used; the first that both are on when empty, or else the peer's first.
	Network string
	// Address is used instead, such as that of a router which forwards the port.
	Address string
	// Port of the peer; one that no other call uses when 0.
	Port uint16
}

// ThroughputResult is what came of a throughput probe. It never changes. The matchers HaveThroughput and, for UDP,
// HavePacketLoss take it.
type ThroughputResult struct {
	command        string
	sent, received Rate
	loss           float64
	retransmits    int
	jitter         time.Duration
}

// Command says who sent to whom.
func (r *ThroughputResult) Command() string { return r.command }

// Sent is the rate at which the sender handed its payload to the kernel.
func (r *ThroughputResult) Sent() Rate { return r.sent }

// Received is the rate of payload that arrived. Headers are not in it: of a full Ethernet frame with TCP about 95 % is.
func (r *ThroughputResult) Received() Rate { return r.received }

// BitsPerSecond is Received as a plain number.
func (r *ThroughputResult) BitsPerSecond() float64 { return float64(r.received) }

// LossPercent is the share of datagrams that did not arrive; 0 for TCP, which sends again.
func (r *ThroughputResult) LossPercent() float64 { return r.loss }

// Retransmits is how many segments TCP sent again; 0 for UDP.
func (r *ThroughputResult) Retransmits() int { return r.retransmits }

// Jitter is how much the datagrams' transit times varied (RFC 1889); 0 for TCP.
func (r *ThroughputResult) Jitter() time.Duration { return r.jitter }

// Reports are what else is worth knowing in a failure's message.
func (r *ThroughputResult) Reports() []string {
	return []string{fmt.Sprintf("sent at %s, received at %s, %.4g %% lost, %d retransmits, jitter %s",
		r.sent, r.received, r.loss, r.retransmits, r.jitter)}
}

// GomegaString is the result in two lines.
func (r *ThroughputResult) GomegaString() string {
	if r == nil {
		return "<no result>"
	}
	return r.command + "\n" + r.Reports()[0]
}

// Throughput sends as much as it can, or UDP at a rate, from the node to a peer over the data path, with iperf3 in both
// guests. A guest without it is an error that says so.
func (n *Node) Throughput(ctx context.Context, peer *Node, opts ...ThroughputOptions) (*ThroughputResult, error) {
	o, err := n.lab.throughputOptions(opts)
	if err != nil {
		return nil, fmt.Errorf("throughput from %q to %q: %w", n.Name(), peer.Name(), err)
	}
	if o.Address == "" {
		if o.Address, err = n.addressOf(peer, o.Network); err != nil {
			return nil, fmt.Errorf("throughput from %q: %w", n.Name(), err)
		}
	}
	server, err := startServer(ctx, peer, o.Port)
	if err != nil {
		return nil, fmt.Errorf("throughput from %q to %q: %w", n.Name(), peer.Name(), err)
	}
	// The server ends after one test by itself; after an error it is in the way of the next.
	defer func() { _ = server.Kill(context.WithoutCancel(ctx)) }()
	r, err := iperf(ctx, n, n.Name(), peer.Name(), o)
	if err != nil {
		return nil, fmt.Errorf("throughput from %q to %q: %w", n.Name(), peer.Name(), err)
	}
	return r, nil
}

func (l *Lab) throughputOptions(opts []ThroughputOptions) (ThroughputOptions, error) {
	var o ThroughputOptions
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return o, errors.New("give one ThroughputOptions at most")
	}
	if o.Duration < 0 || o.Omit < 0 || o.UDP < 0 || o.PacketSize < 0 || o.Streams < 0 {
		return o, fmt.Errorf("%+v: nothing of it may be negative", o)
	}
	orElse(&o.Duration, 5*time.Second)
	orElse(&o.PacketSize, 1400)
	orElse(&o.Streams, 1)
	if o.Port == 0 {
		// iperf3's own port and the thousand after it, by turns: a socket that lingers is in nobody's way.
		o.Port = uint16(5201 + l.ports.Add(1)%1000) //nolint:gosec // at most 6200.
	}
	return o, nil
}

// addressOf is where a node reaches a peer.
func (n *Node) addressOf(peer *Node, network string) (string, error) {
	if network != "" {
		addr, err := peer.inner.Addr(network)
		return addr.String(), err
	}
	theirs := peer.inner.Spec().Links
	for _, link := range theirs {
		if _, err := n.inner.Addr(link.Network); err == nil {
			return link.Addr.Addr().String(), nil
		}
	}
	return theirs[0].Addr.Addr().String(), nil
}

// serverStart bounds the start of iperf3, which takes a second in an emulated guest.
const serverStart = 30 * time.Second

// startServer starts iperf3's other side and waits until it listens.
func startServer(ctx context.Context, peer *Node, port uint16) (*Command, error) {
	server, err := peer.Start(ctx, Cmd{
		Argv: []string{"iperf3", "-s", "-1", "-p", strconv.Itoa(int(port)), "--forceflush"}, Env: map[string]string{"LC_ALL": "C"},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, serverStart, fmt.Errorf("iperf3 did not listen within %s", serverStart))
	defer cancel()
	err = poll.Until(ctx, 50*time.Millisecond, func(context.Context) error {
		if server.ExitCode() != -1 || strings.Contains(string(server.Out.Contents()), "listening on") {
			return nil
		}
		return fmt.Errorf("it has printed %q", server.Out.Contents())
	})
	switch code := server.ExitCode(); {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("start iperf3 on %q: %w", peer.Name(), err), server.Kill(context.WithoutCancel(ctx)))
	case code == notFound:
		return nil, missing(peer.Name(), "iperf3", "iperf3")
	case code != -1:
		return nil, fmt.Errorf("start iperf3 on %q: it exited with %d: %s%s", peer.Name(), code, server.Out.Contents(), server.Err.Contents())
	}
	return server, nil
}

// iperf runs the sending side, which tells about both.
func iperf(ctx context.Context, guest runner, node, peer string, o ThroughputOptions) (*ThroughputResult, error) {
	argv := []string{
		"iperf3", "-J", "-c", o.Address, "-p", strconv.Itoa(int(o.Port)), "-t", whole(o.Duration), "-P", strconv.Itoa(o.Streams),
	}
	what := "TCP"
	if o.UDP > 0 {
		what = "UDP at " + o.UDP.String()
		// -b is per stream.
		argv = append(argv, "-u", "-l", strconv.Itoa(o.PacketSize), "-b", strconv.FormatFloat(float64(o.UDP)/float64(o.Streams), 'f', 0, 64))
	}
	if o.Omit > 0 {
		argv = append(argv, "-O", whole(o.Omit))
	}
	from, to := node, peer
	if o.Reverse {
		argv = append(argv, "-R")
		from, to = peer, node
	}
	res, err := guest.Run(ctx, Cmd{Argv: argv, Env: map[string]string{"LC_ALL": "C"}})
	if err != nil {
		return nil, err
	}
	r, err := parseIperf([]byte(res.Stdout()), o.UDP > 0)
	if err != nil {
		return nil, toolError(res, node, "iperf3", "iperf3", err)
	}
	r.command = fmt.Sprintf("%s from %s to %s for %s", what, from, to, o.Duration)
	return r, nil
}

// whole writes a time as iperf3 wants it: in seconds without a fraction, rounded up.
func whole(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// parseIperf reads the JSON of iperf3's client.
func parseIperf(data []byte, udp bool) (*ThroughputResult, error) {
	type sum struct {
		Bits        float64  `json:"bits_per_second"`
		Retransmits int      `json:"retransmits"`
		Jitter      float64  `json:"jitter_ms"`
		Lost        *float64 `json:"lost_percent"`
	}
	var out struct {
		End struct {
			Sent     *sum `json:"sum_sent"`
			Received *sum `json:"sum_received"`
			Sum      *sum `json:"sum"`
		} `json:"end"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read what iperf3 tells: %w", err)
	}
	end := out.End
	switch {
	case out.Error != "":
		return nil, fmt.Errorf("iperf3: %s", out.Error)
	case end.Sent == nil || end.Received == nil || udp && (end.Sum == nil || end.Sum.Lost == nil):
		return nil, errors.New("iperf3 did not tell how it went")
	}
	r := &ThroughputResult{sent: Rate(end.Sent.Bits), received: Rate(end.Received.Bits), retransmits: end.Sent.Retransmits}
	if udp {
		r.loss, r.jitter = *end.Sum.Lost, time.Duration(end.Sum.Jitter*float64(time.Millisecond))
	}
	return r, nil
}
