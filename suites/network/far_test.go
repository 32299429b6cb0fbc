package network_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
)

// What a busy host adds to these delays is little beside them.
var _ = Describe("A long link between two machines, measured", Label("vm", "network", "impairments"), func() {
	hasDelayAndLoss(
		preset{"cellular", 100 * time.Millisecond, 0, 2},
		preset{"mobile_cell", 100 * time.Millisecond, 30 * time.Millisecond, 2},
		preset{"urban_congested", 150 * time.Millisecond, 80 * time.Millisecond, 15},
	)
})

// These wait longest for answers: they are apart so that two processes share the waiting.
var _ = Describe("A very long link between two machines, measured", SpecPriority(2), Label("vm", "network", "impairments"), func() {
	hasDelayAndLoss(
		preset{"satellite", 600 * time.Millisecond, 50 * time.Millisecond, 5},
		preset{"intermittent", 500 * time.Millisecond, 300 * time.Millisecond, 50},
		preset{"deep_space", 2 * time.Second, 200 * time.Millisecond, 10},
	)
})

// hasDelayAndLoss makes a spec of each preset, in a lab for all of them.
func hasDelayAndLoss(presets ...preset) {
	Context("has a preset's delay and loss", Ordered, ContinueOnFailure, func() {
		var alice, bob *labtest.Node

		BeforeAll(func(ctx SpecContext) { alice, bob = pair(ctx) }, NodeTimeout(20*time.Minute))

		for _, p := range presets {
			It(p.name, func(ctx SpecContext) { p.check(ctx, alice, bob.Addr("lan").String()) }, NodeTimeout(3*time.Minute))
		}
	})
}

// A busy host can still send this much.
var _ = Describe("A slow link between two machines, measured", Ordered, ContinueOnFailure, SpecPriority(2), Label("vm", "network", "impairments"), func() {
	var alice, bob *labtest.Node

	BeforeAll(func(ctx SpecContext) { alice, bob = pair(ctx) }, NodeTimeout(20*time.Minute))

	DescribeTable("lets through what its rate says, and no more",
		func(ctx SpecContext, rate labtest.Rate) { letsThrough(ctx, alice, bob, rate) },
		Entry(nil, 500*labtest.Kbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 1*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 2*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 5*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 10*labtest.Mbps, NodeTimeout(3*time.Minute)),
	)
})

// preset is what a preset should do to a link: delay and jitter of each direction, loss in percent.
type preset struct {
	name          string
	delay, jitter time.Duration
	loss          float64
}

// String is a part of a spec's name.
func (p preset) String() string { return p.name }

// check measures alice's link to a peer with the preset and without.
func (p preset) check(ctx context.Context, alice *labtest.Node, peer string) {
	GinkgoHelper()
	const gap = 2 * time.Millisecond
	impair := func(i labtest.Impairment) {
		GinkgoHelper()
		Expect(alice.Link("lan").Impair(ctx, i)).To(Succeed())
	}
	ping := func(o labtest.PingOptions) *labtest.PingResult {
		GinkgoHelper()
		res, err := alice.Ping(ctx, peer, o)
		Expect(err).NotTo(HaveOccurred())
		return res
	}
	impair(labtest.Impairment{Preset: p.name})
	probes := manyPings(ctx, alice, peer)
	AddReportEntry(p.name, fmt.Sprintf("%d of %d answered", len(probes.answers), probes.sent))
	pass := 1 - p.loss/100
	Expect(probes.sent - len(probes.answers)).To(within99(probes.sent, 1-pass*pass))
	// At least, since ping tells whole milliseconds from 100 ms on: 200.4 is 200.
	Expect(slices.Min(probes.answers)).To(BeNumerically(">=", 2*(p.delay-p.jitter)))

	// Jitter keeps the order of frames, so the median is that of the delay only where they are further apart than it reaches.
	// Where that would take minutes, it is measured without.
	tolerance := max(time.Millisecond, 2*p.delay/20)
	with, o := labtest.Impairment{Preset: p.name}, labtest.PingOptions{Count: 200, Interval: gap, Wait: 15 * time.Second}
	switch {
	case p.jitter > 50*time.Millisecond:
		with.Jitter = labtest.None
	case p.jitter > 0:
		o.Interval = max(5*time.Millisecond, 2*p.jitter)
		o.Count = max(forMedian(p.jitter, tolerance), min(o.Count, int(2*time.Second/o.Interval)))
	}
	added := func() time.Duration {
		GinkgoHelper()
		impair(with)
		on := ping(o)
		Expect(alice.Link("lan").Reset(ctx)).To(Succeed())
		plain := ping(labtest.PingOptions{Count: 200, Interval: gap})
		AddReportEntry(p.name, fmt.Sprintf("%s; median without: %s", on.GomegaString(), plain.MedianRTT()))
		return on.MedianRTT() - plain.MedianRTT()
	}
	// What else the host does in one of the two measurements makes them differ: then they are made again.
	Eventually(added).WithPolling(time.Millisecond).WithTimeout(time.Minute).Should(BeNumerically("~", 2*p.delay, tolerance))
}

// probes is what came of several pings beside each other.
type probes struct {
	sent    int
	answers []time.Duration
}

// manyPings sends 2001 echoes. Debian's ping waits 6 ms between two of them while an answer is due, so three send them: as
// fast as the slowest preset's rate lets pass.
func manyPings(ctx context.Context, from *labtest.Node, to string) probes {
	GinkgoHelper()
	const pings, each = 3, 667
	var wg sync.WaitGroup
	var results [pings]*labtest.PingResult
	var errs [pings]error
	for i := range pings {
		wg.Go(func() {
			results[i], errs[i] = from.Ping(ctx, to, labtest.PingOptions{Count: each, Interval: 2 * time.Millisecond, Wait: 15 * time.Second})
		})
	}
	wg.Wait()
	var all probes
	for i, res := range results {
		Expect(errs[i]).NotTo(HaveOccurred())
		Expect(res.Sent()).To(Equal(each))
		Expect(res.RoundTrips()).To(HaveLen(res.Received()))
		all.sent += res.Sent()
		all.answers = append(all.answers, res.RoundTrips()...)
	}
	Expect(all.answers).NotTo(BeEmpty())
	return all
}

// letsThrough measures what alice's link passes of TCP and of UDP at a rate.
func letsThrough(ctx context.Context, alice, bob *labtest.Node, rate labtest.Rate) {
	GinkgoHelper()
	link := alice.Link("lan")
	for _, udp := range []bool{false, true} {
		o := labtest.ThroughputOptions{Duration: 4 * time.Second, Omit: time.Second}
		if rate < 5*labtest.Mbps { // What is in the queue when the time ends counts for more.
			o.Duration, o.Omit = 10*time.Second, 2*time.Second
		}
		// A frame that is full carries 1448 bytes of TCP's payload, with time stamps, and 1472 of UDP's.
		payload := 1448.0
		if udp {
			o.UDP, o.PacketSize, payload = rate*12/10, 1472, 1472
		}
		throughput := func() float64 {
			GinkgoHelper()
			res, err := alice.Throughput(ctx, bob, o)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(link.GomegaString(), res.GomegaString())
			return res.BitsPerSecond()
		}
		want := float64(rate) * payload / 1514
		right := BeNumerically("~", want, want/20)
		Expect(link.Impair(ctx, labtest.Impairment{Rate: rate})).To(Succeed())
		got := throughput()
		if rate >= 50*labtest.Mbps && got < 0.95*want {
			// An emulated guest may not be able to drive more than that: then it does no better without the limit.
			Expect(link.Reset(ctx)).To(Succeed())
			if throughput() < 1.3*want {
				continue
			}
			Expect(link.Impair(ctx, labtest.Impairment{Rate: rate})).To(Succeed())
		}
		Expect(measured(got, throughput, right)).To(right, "%s UDP %t", rate, udp)
		Expect(link.Reset(ctx)).To(Succeed())
	}
}

// forMedian is how many round trips it takes for the 99 % interval of their median to be no wider than a tolerance. Each
// direction adds anything within the jitter, both together a triangle of twice its width, whose density in the middle is
// 1/(2*jitter); so the median's standard error, 1/(2*density*sqrt(n)), is jitter/sqrt(n). A third more makes up for what is
// lost and for the host.
func forMedian(jitter, tolerance time.Duration) int {
	root := 2.576 * float64(jitter) / float64(tolerance)
	return max(40, int(math.Ceil(root*root*4/3)))
}
