package matchers_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	. "ionlab/matchers"
)

// probe has all that labtest's probes have.
type probe struct {
	command        string
	sent, received int
	times          []time.Duration
	reports        []string
	bits           float64
}

func (p *probe) Command() string             { return p.command }
func (p *probe) Sent() int                   { return p.sent }
func (p *probe) Received() int               { return p.received }
func (p *probe) Reachable() bool             { return p.received > 0 }
func (p *probe) RoundTrips() []time.Duration { return p.times }
func (p *probe) Reports() []string           { return p.reports }
func (p *probe) BitsPerSecond() float64      { return p.bits }
func (p *probe) LossPercent() float64        { return 100 * float64(p.sent-p.received) / float64(p.sent) }

// answered is a ping with three of four answers, unanswered one with none.
func answered() *probe {
	return &probe{
		command: "ping -c 4 bob from alice", sent: 4, received: 3, bits: 9.5e6,
		times: []time.Duration{30 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond},
	}
}

func unanswered() *probe {
	return &probe{command: "ping -c 2 bob from alice", sent: 2, reports: []string{"10.0.0.1: Packet filtered"}}
}

func TestProbes(t *testing.T) {
	g := NewWithT(t)
	g.Expect(answered()).To(BeReachable())
	g.Expect(unanswered()).NotTo(BeReachable())
	g.Expect(answered()).To(HavePacketLoss(BeNumerically("==", 25)))
	g.Expect(unanswered()).To(HavePacketLoss(BeNumerically("==", 100)))
	g.Expect(answered()).NotTo(HavePacketLoss(BeZero()))
	g.Expect(answered()).To(HaveRTT(Equal(20*time.Millisecond)), "the median, whatever the order")
	g.Expect(answered()).To(HaveRTT(BeNumerically("~", 19*time.Millisecond, time.Millisecond)))
	g.Expect(answered()).NotTo(HaveRTT(BeNumerically(">", 20*time.Millisecond)))
	g.Expect(answered()).To(HaveThroughput(BeNumerically("~", 10e6, 1e6)))
	g.Expect(answered()).NotTo(HaveThroughput(BeNumerically(">", 10_000_000)))
}

func TestProbeMessages(t *testing.T) {
	for name, test := range map[string]struct {
		expect func(Gomega)
		want   string
	}{
		"unreachable": {
			func(g Gomega) { g.Expect(unanswered()).To(BeReachable()) },
			"Expected probe\n    ping -c 2 bob from alice\nto reach its other side, but no answer came\n2 sent, 0 answered\nreports:\n    10.0.0.1: Packet filtered",
		},
		"reachable": {
			func(g Gomega) { g.Expect(answered()).NotTo(BeReachable()) },
			"Expected probe\n    ping -c 4 bob from alice\nnot to reach its other side, but it did\n4 sent, 3 answered\nround trips: 10ms to 30ms, median 20ms",
		},
		"slow": {
			func(g Gomega) { g.Expect(answered()).To(HaveRTT(BeNumerically("<", 15*time.Millisecond))) },
			"Unexpected median round trip of probe\n    ping -c 4 bob from alice\nExpected\n    <time.Duration>: 20000000\nto be <\n" +
				"    <time.Duration>: 15000000\n4 sent, 3 answered\nround trips: 10ms to 30ms, median 20ms",
		},
		"lossy": {
			func(g Gomega) { g.Expect(answered()).To(HavePacketLoss(BeZero())) },
			"Unexpected packet loss of probe\n    ping -c 4 bob from alice\nExpected\n    <float64>: 25\nto be zero-valued\n4 sent, 3 answered\nround trips: 10ms to 30ms, median 20ms",
		},
		"not that fast": {
			func(g Gomega) {
				g.Expect(&probe{command: "TCP", bits: 5, sent: 1}).NotTo(HaveThroughput(BeNumerically("==", 5)))
			},
			"Unexpected throughput in bit/s of probe\n    TCP\nExpected\n    <float64>: 5\nnot to be ==\n    <int>: 5\n1 sent, 0 answered",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, g := record()
			test.expect(g)
			NewWithT(t).Expect(r.only(t)).To(Equal(test.want))
		})
	}
}

func TestProbesRefuse(t *testing.T) {
	var none *probe
	for want, match := range map[string]func() (bool, error){
		"BeReachable needs a result with Reachable() bool, and was given\n    <string>: text":                                             func() (bool, error) { return BeReachable().Match("text") },
		"BeReachable needs a result with Reachable() bool, and was given a nil *matchers_test.probe: look at the error that came with it": func() (bool, error) { return BeReachable().Match(none) },
		"HaveRTT needs a result with RoundTrips() []time.Duration, and was given nil":                                                     func() (bool, error) { return HaveRTT(BeZero()).Match(nil) },
		"HavePacketLoss needs a result with LossPercent() float64, and was given\n    <int>: 3":                                           func() (bool, error) { return HavePacketLoss(BeZero()).Match(3) },
		"HaveThroughput needs a result with BitsPerSecond() float64, and was given\n    <int>: 3":                                         func() (bool, error) { return HaveThroughput(BeZero()).Match(3) },
		"HaveThroughput needs a matcher for the throughput in bit/s, such as BeNumerically, and was given nil":                            func() (bool, error) { return HaveThroughput(nil).Match(answered()) },
		"HaveRTT needs at least one answer, and the probe has none\n    ping -c 2 bob from alice\n2 sent, 0 answered\nreports:\n    10.0.0.1: Packet filtered": func() (bool, error) {
			return HaveRTT(BeNumerically("<", time.Second)).Match(unanswered())
		},
	} {
		matched, err := match()
		g := NewWithT(t)
		g.Expect(matched).To(BeFalse())
		g.Expect(err).To(MatchError(want))
	}
}

func TestEventuallyProbesAgain(t *testing.T) {
	g := NewWithT(t)
	tries := 0
	ping := func(_ context.Context, target string) (*probe, error) {
		g.Expect(target).To(Equal("bob"))
		if tries++; tries < 3 {
			return unanswered(), nil
		}
		return answered(), nil
	}
	g.Eventually(t.Context(), ping).WithArguments("bob").Within(time.Minute).ProbeEvery(time.Millisecond).Should(BeReachable())
	g.Expect(tries).To(Equal(3))
	began := time.Now()
	r, fake := record()
	fake.Eventually(unanswered()).Within(time.Minute).Should(BeReachable())
	g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second), "a result never changes")
	g.Expect(r.only(t)).To(ContainSubstring("No future change is possible"))
}
