package labtest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/guest"
	"ionlab/matchers"
)

func golden(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(data)
}

func TestParsePing(t *testing.T) {
	for name, test := range map[string]struct {
		file string
		want PingResult
	}{
		"all answered": {"ping-good.txt", PingResult{
			sent: 3, received: 3, times: []time.Duration{332 * time.Microsecond, 46 * time.Microsecond, 45 * time.Microsecond},
		}},
		"lossy": {"ping-lossy.txt", PingResult{
			sent: 6, received: 3, duplicates: 1, times: []time.Duration{100 * time.Millisecond, 98700 * time.Microsecond, 302 * time.Millisecond},
			reports: []string{"10.13.0.1: Destination Host Unreachable", "router: Time to live exceeded"},
		}},
		"busybox": {"ping-busybox.txt", PingResult{
			sent: 3, received: 2, times: []time.Duration{412 * time.Microsecond, 388 * time.Microsecond},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := parsePing(golden(t, test.file), "")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(*got).To(Equal(test.want))
		})
	}
}

func FuzzParsePing(f *testing.F) {
	for _, name := range []string{"ping-good.txt", "ping-lossy.txt", "ping-busybox.txt"} {
		f.Add(golden(f, name), "ping: connect: Network is unreachable")
	}
	f.Fuzz(func(t *testing.T, stdout, stderr string) {
		r, err := parsePing(stdout, stderr)
		if err != nil {
			return
		}
		if loss := r.LossPercent(); loss < 0 || loss > 100 {
			t.Errorf("%g %% lost", loss)
		}
		if r.MinRTT() > r.MedianRTT() || r.MedianRTT() > r.MaxRTT() {
			t.Errorf("%s is out of order", r.GomegaString())
		}
	})
}

func TestPingResultForSpecs(t *testing.T) {
	g := NewWithT(t)
	r, err := parsePing(golden(t, "ping-lossy.txt"), "")
	g.Expect(err).NotTo(HaveOccurred())
	r.command = "ping -c 6 bob from alice"
	g.Expect([]int{r.Sent(), r.Received(), r.Duplicates()}).To(Equal([]int{6, 3, 1}))
	g.Expect([]time.Duration{r.MinRTT(), r.MedianRTT(), r.MaxRTT()}).
		To(Equal([]time.Duration{98700 * time.Microsecond, 100 * time.Millisecond, 302 * time.Millisecond}))
	g.Expect(r.RoundTrips()[2]).To(Equal(302*time.Millisecond), "in the order in which they came")
	g.Expect(r).To(matchers.BeReachable())
	g.Expect(r).To(matchers.HavePacketLoss(BeNumerically("==", 50)))
	g.Expect(r).To(matchers.HaveRTT(BeNumerically("~", 100*time.Millisecond, 5*time.Millisecond)))
	g.Expect(r.GomegaString()).To(Equal("ping -c 6 bob from alice: 6 sent, 3 answered, 1 duplicates, 50 % lost, RTT 98.7ms / 100ms / 302ms (min, median, max)\n" +
		"10.13.0.1: Destination Host Unreachable\nrouter: Time to live exceeded"))
	none := &PingResult{}
	g.Expect(none.LossPercent()).To(Equal(100.0))
	g.Expect(none.MedianRTT() + none.MinRTT() + none.MaxRTT()).To(BeZero())
	g.Expect((*PingResult)(nil).GomegaString()).To(Equal("<no result>"))
}

// guestWith is a guest whose tools are scripts; the key is the name.
func guestWith(t testing.TB, tools map[string]string) runner {
	t.Helper()
	dir := t.TempDir()
	for name, script := range tools {
		NewWithT(t).Expect(os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755)).To(Succeed())
	}
	client := newGuest(t, func(c *guest.Config) { c.Env = map[string]string{"PATH": dir + ":/usr/bin:/bin"} })
	return clientRunner{client}
}

type clientRunner struct{ *guest.Client }

func (c clientRunner) Run(ctx context.Context, cmd Cmd) (*Result, error) {
	res, err := c.Client.Run(ctx, cmd.guest())
	if err != nil {
		return nil, err
	}
	return &Result{res}, nil
}

func TestPingAsksTheGuestsOwn(t *testing.T) {
	g := NewWithT(t)
	o, err := pingOptions([]PingOptions{{Count: 3, Interval: 50 * time.Millisecond, Wait: 2 * time.Second, Size: 100}})
	g.Expect(err).NotTo(HaveOccurred())
	alice := guestWith(t, map[string]string{"ping": `echo "$LC_ALL $*" >&2
echo "From 10.0.0.1 icmp_seq=1 $LC_ALL $*"
echo "3 packets transmitted, 0 received, 100% packet loss, time 5ms"
exit 1`})
	r, err := ping(within(t), alice, "alice", "bob", "10.0.0.9", o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Command()).To(Equal("ping -c 3 bob from alice"))
	g.Expect(r.Reports()).To(Equal([]string{"10.0.0.1: C -n -c 3 -i 0.05 -W 2 -s 100 -I 10.0.0.9 -- bob"}))
	g.Expect(r).NotTo(matchers.BeReachable())
	g.Expect(r.Sent()).To(Equal(3))
}

func TestPingThatHasNoResult(t *testing.T) {
	o, err := pingOptions(nil)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, test := range map[string]struct{ script, want string }{
		"no ping":      {"exit 127", `node "alice" has no ping: add iputils-ping to its packages in the topology`},
		"unknown name": {"echo 'ping: bob: Name or service not known' >&2; exit 2", "ping did not say how it went\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ping(within(t), guestWith(t, map[string]string{"ping": test.script}), "alice", "bob", "", o)
			NewWithT(t).Expect(err).To(MatchError(HavePrefix(test.want)))
		})
	}
	g := NewWithT(t)
	_, err = ping(within(t), guestWith(t, map[string]string{"ping": "echo 'ping: bob: Name or service not known' >&2; exit 2"}), "alice", "bob", "", o)
	g.Expect(err).To(MatchError(ContainSubstring("Name or service not known")))
	r, err := ping(within(t), guestWith(t, map[string]string{"ping": "echo 'ping: connect: Network is unreachable' >&2; exit 2"}), "alice", "bob", "", o)
	g.Expect(err).NotTo(HaveOccurred(), "to have no way there is an answer too")
	g.Expect(r).NotTo(matchers.BeReachable())
	g.Expect(r.Reports()).To(Equal([]string{"Network is unreachable"}))
}

func TestPingOptions(t *testing.T) {
	g := NewWithT(t)
	g.Expect(pingOptions(nil)).To(Equal(PingOptions{Count: 10, Interval: 200 * time.Millisecond, Wait: 5 * time.Second, Size: 56}))
	_, err := pingOptions([]PingOptions{{}, {}})
	g.Expect(err).To(MatchError("give one PingOptions at most"))
	_, err = pingOptions([]PingOptions{{Count: -1}})
	g.Expect(err).To(MatchError(ContainSubstring("nothing of it may be negative")))
	alice := newTestLab(t).Node("alice")
	_, err = alice.Ping(within(t), "bob", PingOptions{From: "wan"})
	g.Expect(err).To(MatchError(`ping "bob": node "alice" is not on a network "wan"; it is on ["lan"]`))
	_, err = alice.Ping(within(t), "bob")
	g.Expect(err).To(MatchError(ContainSubstring("it is powered off")))
}

func TestCheckPort(t *testing.T) {
	g := NewWithT(t)
	listener, err := (&net.ListenConfig{}).Listen(within(t), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer listener.Close()
	open := listener.Addr().String()
	closed, err := (&net.ListenConfig{}).Listen(within(t), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	refused := closed.Addr().String()
	g.Expect(closed.Close()).To(Succeed())
	bash := func(script string) map[string]string { return map[string]string{"bash": script} }
	for name, test := range map[string]struct {
		tools  map[string]string
		addr   string
		state  PortState
		detail []string
	}{
		"open":      {nil, open, Open, nil},
		"refused":   {nil, refused, Refused, []string{"Connection refused"}},
		"no answer": {bash("exec sleep 5"), open, NoAnswer, []string{"within 200ms"}},
		"timed out": {bash("echo 'bash: connect: Connection timed out' >&2; exit 1"), open, NoAnswer, []string{"Connection timed out"}},
		"no host":   {bash("echo 'bash: connect: No route to host' >&2; exit 1"), open, Unreachable, []string{"No route to host"}},
		"no route":  {bash("echo 'bash: connect: Network is unreachable' >&2; exit 1"), open, Unreachable, []string{"Network is unreachable"}},
		"argv":      {bash(`[ "$1 $3 $4 $5 $LC_ALL" = "-c bash a'b 22 C" ] || echo "x: $*" >&2`), "a'b:22", Open, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			wait := portWait
			if name == "no answer" {
				wait = 200 * time.Millisecond
			}
			r, err := checkPort(within(t), guestWith(t, test.tools), "alice", test.addr, wait)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.State()).To(Equal(test.state))
			g.Expect(r.Reports()).To(Equal(test.detail))
			g.Expect(r.Reachable()).To(Equal(test.state == Open))
			g.Expect(r.GomegaString()).To(HavePrefix("connect from alice to " + test.addr + ": " + string(test.state)))
		})
	}
	g.Expect((*PortResult)(nil).GomegaString()).To(Equal("<no result>"))
}

func TestCheckPortThatHasNoResult(t *testing.T) {
	for name, test := range map[string]struct{ script, addr, want string }{
		"address": {"", "bob", "check a port: address bob: missing port in address: write it like bob:22 or 10.0.0.5:80"},
		"no bash": {"exit 127", "bob:22", `node "alice" has no bash or no timeout: add bash and coreutils to its packages in the topology`},
		"name": {
			"echo 'bash: bob: Name or service not known' >&2; echo 'bash: /dev/tcp/bob/22: Invalid argument' >&2; exit 1", "bob:22",
			`check port bob:22 from node "alice": Name or service not known`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := checkPort(within(t), guestWith(t, map[string]string{"bash": test.script}), "alice", test.addr, portWait)
			NewWithT(t).Expect(err).To(MatchError(test.want))
		})
	}
}

func TestParseIperf(t *testing.T) {
	g := NewWithT(t)
	r, err := parseIperf([]byte(golden(t, "iperf3-tcp.json")), false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Sent().String()).To(Equal("50.17 Mbit/s"))
	g.Expect(r.Received().String()).To(Equal("49.56 Mbit/s"))
	g.Expect(r).To(matchers.HaveThroughput(BeNumerically("~", 50*Mbps, Mbps)))
	g.Expect(r.Retransmits()).To(Equal(1))
	for _, name := range []string{"iperf3-udp.json", "iperf3-udp-reverse.json"} {
		r, err = parseIperf([]byte(golden(t, name)), true)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Received()).To(BeNumerically("~", 5.24*Mbps, 0.01*Mbps))
		g.Expect(r).To(matchers.HavePacketLoss(BeZero()))
		g.Expect(r.Jitter()).To(BeNumerically(">", 0))
	}
	g.Expect((*ThroughputResult)(nil).GomegaString()).To(Equal("<no result>"))
	for want, text := range map[string]string{
		"iperf3: unable to connect to server: Connection refused": golden(t, "iperf3-refused.json"),
		"read what iperf3 tells: unexpected end of JSON input":    "",
		"iperf3 did not tell how it went":                         `{"end": {}}`,
	} {
		_, err = parseIperf([]byte(text), true)
		g.Expect(err).To(MatchError(want))
	}
}

func TestThroughputAsksTheGuestsOwn(t *testing.T) {
	g := NewWithT(t)
	alice := guestWith(t, map[string]string{"iperf3": `echo "{\"error\": \"$*\"}"`})
	for want, o := range map[string]ThroughputOptions{
		"-J -c 10.0.0.5 -p 5300 -t 5 -P 1":                               {},
		"-J -c 10.0.0.5 -p 5300 -t 2 -P 4 -u -l 1200 -b 2500000 -O 1 -R": {Duration: 1500 * time.Millisecond, Omit: time.Second, UDP: 10 * Mbps, PacketSize: 1200, Streams: 4, Reverse: true},
	} {
		o.Address, o.Port = "10.0.0.5", 5300
		o, err := (&Lab{}).throughputOptions([]ThroughputOptions{o})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = iperf(within(t), alice, "alice", "bob", o)
		g.Expect(err).To(MatchError(HavePrefix("iperf3: " + want + "\n")))
	}
	_, err := iperf(within(t), guestWith(t, map[string]string{"iperf3": "exit 127"}), "alice", "bob", ThroughputOptions{})
	g.Expect(err).To(MatchError(`node "alice" has no iperf3: add iperf3 to its packages in the topology`))
}

func TestThroughputOptions(t *testing.T) {
	g := NewWithT(t)
	l := newTestLab(t)
	one, err := l.throughputOptions(nil)
	g.Expect(err).NotTo(HaveOccurred())
	other, err := l.throughputOptions(nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(one.Port).NotTo(Equal(other.Port))
	_, err = l.throughputOptions([]ThroughputOptions{{UDP: None}})
	g.Expect(err).To(MatchError(ContainSubstring("nothing of it may be negative")))
	_, err = l.Node("alice").Throughput(within(t), l.Node("bob"), ThroughputOptions{Network: "wan"})
	g.Expect(err).To(MatchError(`throughput from "alice": node "bob" is not on a network "wan"; it is on ["lan"]`))
	_, err = l.Node("alice").Throughput(within(t), l.Node("bob"))
	g.Expect(err).To(MatchError(ContainSubstring(`node "bob": it is powered off`)))
	g.Expect(l.Node("alice").addressOf(l.Node("bob"), "")).To(Equal("10.13.0.11"))
}
