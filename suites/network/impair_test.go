package network_test

import (
	"context"
	"fmt"
	"math"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// Everything is on one link of alice's; so a round trip has its delay twice, and an echo is lost on either way. Nothing else may
// keep the host busy meanwhile: that would be measured, too.
var _ = Describe("A link between two machines, measured", Ordered, ContinueOnFailure, Serial, Label("vm", "network", "impairments"), func() {
	var (
		alice, bob *labtest.Node
		peer       string        // bob's address: a name would travel over the same link
		plain      time.Duration // the median round trip without an impairment
	)

	BeforeAll(func(ctx SpecContext) {
		alice, bob = pair(ctx)
		peer = bob.Addr("lan").String()
		plain = roundTrip(ctx, alice, peer, 200)
		AddReportEntry("median round trip of a perfect link", plain.String())
	}, NodeTimeout(20*time.Minute))

	impair := func(ctx context.Context, i labtest.Impairment) {
		GinkgoHelper()
		Expect(alice.Link("lan").Impair(ctx, i)).To(Succeed())
	}

	DescribeTable("has a preset's delay and loss",
		func(ctx SpecContext, preset string, delay, jitter time.Duration, lossPercent float64) {
			const probes, gap = 2000, 2 * time.Millisecond
			impair(ctx, labtest.Impairment{Preset: preset})
			all, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: probes, Interval: gap, Wait: 15 * time.Second})
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(preset, all.GomegaString())
			Expect(all.Sent()).To(Equal(probes))
			pass := 1 - lossPercent/100
			Expect(probes - all.Received()).To(within99(probes, 1-pass*pass))
			Expect(all.MinRTT()).To(BeNumerically(">", 2*(delay-jitter)))

			// Without jitter these probes tell the delay, too. With it they do not: it keeps the order of frames, so the median is
			// that of the delay only where they are further apart than the jitter reaches. Where that would take minutes, it is
			// measured without.
			tolerance := max(time.Millisecond, 2*delay/20)
			with, o := labtest.Impairment{Preset: preset}, labtest.PingOptions{Count: 200, Interval: gap, Wait: 15 * time.Second}
			switch {
			case jitter > 50*time.Millisecond:
				with.Jitter, all = labtest.None, nil
			case jitter > 0:
				o.Interval, all = max(5*time.Millisecond, 2*jitter), nil
				o.Count = max(forMedian(jitter, tolerance), min(o.Count, int(2*time.Second/o.Interval)))
			}
			added := func() time.Duration {
				GinkgoHelper()
				on := all
				if all = nil; on == nil {
					impair(ctx, with)
					on, err = alice.Ping(ctx, peer, o)
					Expect(err).NotTo(HaveOccurred())
				}
				Expect(alice.Link("lan").Reset(ctx)).To(Succeed())
				plain, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 200, Interval: gap})
				Expect(err).NotTo(HaveOccurred())
				AddReportEntry(preset, fmt.Sprintf("%s; median without: %s", on.GomegaString(), plain.MedianRTT()))
				return on.MedianRTT() - plain.MedianRTT()
			}
			// What else the host does in one of the two measurements makes them differ: then they are made again.
			Eventually(added).WithPolling(time.Millisecond).WithTimeout(time.Minute).Should(BeNumerically("~", 2*delay, tolerance))
		},
		Entry(nil, "localhost", time.Duration(0), time.Duration(0), 0.0, NodeTimeout(3*time.Minute)),
		Entry(nil, "basement_lan", 500*time.Microsecond, 100*time.Microsecond, 0.0, NodeTimeout(3*time.Minute)),
		Entry(nil, "home_lan", 2*time.Millisecond, time.Millisecond, 0.01, NodeTimeout(3*time.Minute)),
		Entry(nil, "campus", 5*time.Millisecond, time.Duration(0), 0.01, NodeTimeout(3*time.Minute)),
		Entry(nil, "broadband", 20*time.Millisecond, time.Duration(0), 0.1, NodeTimeout(3*time.Minute)),
		Entry(nil, "friend_wan", 50*time.Millisecond, 10*time.Millisecond, 0.5, NodeTimeout(3*time.Minute)),
		Entry(nil, "cellular", 100*time.Millisecond, time.Duration(0), 2.0, NodeTimeout(3*time.Minute)),
		Entry(nil, "mobile_cell", 100*time.Millisecond, 30*time.Millisecond, 2.0, NodeTimeout(3*time.Minute)),
		Entry(nil, "urban_congested", 150*time.Millisecond, 80*time.Millisecond, 15.0, NodeTimeout(3*time.Minute)),
		Entry(nil, "satellite", 600*time.Millisecond, 50*time.Millisecond, 5.0, NodeTimeout(3*time.Minute)),
		Entry(nil, "intermittent", 500*time.Millisecond, 300*time.Millisecond, 50.0, NodeTimeout(3*time.Minute)),
		Entry(nil, "deep_space", 2*time.Second, 200*time.Millisecond, 10.0, NodeTimeout(3*time.Minute)),
	)

	DescribeTable("lets through what its rate says, and no more",
		func(ctx SpecContext, rate labtest.Rate) {
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
					AddReportEntry(alice.Link("lan").GomegaString(), res.GomegaString())
					return res.BitsPerSecond()
				}
				want := float64(rate) * payload / 1514
				right := BeNumerically("~", want, want/20)
				impair(ctx, labtest.Impairment{Rate: rate})
				got := throughput()
				if rate >= 50*labtest.Mbps && got < 0.95*want {
					// An emulated guest may not be able to drive more than that: then it does no better without the limit.
					Expect(alice.Link("lan").Reset(ctx)).To(Succeed())
					if throughput() < 1.3*want {
						continue
					}
					impair(ctx, labtest.Impairment{Rate: rate})
				}
				Expect(measured(got, throughput, right)).To(right, "%s UDP %t", rate, udp)
				Expect(alice.Link("lan").Reset(ctx)).To(Succeed())
			}
		},
		Entry(nil, 500*labtest.Kbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 1*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 2*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 5*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 10*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 50*labtest.Mbps, NodeTimeout(3*time.Minute)),
		Entry(nil, 100*labtest.Mbps, NodeTimeout(3*time.Minute)),
	)

	// longer is how much longer a round trip is than on the perfect link. What else the host does only adds to it.
	longer := func(ctx context.Context) time.Duration { return roundTrip(ctx, alice, peer, 20) - plain }

	It("delays one direction alone", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Delay: 80 * time.Millisecond})
		Eventually(ctx, longer).Should(BeNumerically("~", 80*time.Millisecond, 4*time.Millisecond))
		impair(ctx, labtest.Impairment{On: labtest.Ingress, Delay: 30 * time.Millisecond})
		Eventually(ctx, longer).Should(BeNumerically("~", 110*time.Millisecond, 5500*time.Microsecond))
		impair(ctx, labtest.Impairment{On: labtest.Egress, Delay: labtest.None})
		Eventually(ctx, longer).Should(BeNumerically("~", 30*time.Millisecond, 1500*time.Microsecond))
	}, NodeTimeout(2*time.Minute))

	It("limits the rate of one direction alone", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Rate: 2 * labtest.Mbps})
		slow, err := alice.Throughput(ctx, bob, labtest.ThroughputOptions{Duration: 3 * time.Second})
		Expect(err).NotTo(HaveOccurred())
		fast, err := alice.Throughput(ctx, bob, labtest.ThroughputOptions{Duration: 3 * time.Second, Reverse: true})
		Expect(err).NotTo(HaveOccurred())
		Expect(slow.BitsPerSecond()).To(BeNumerically("<", 2.1e6))
		Expect(fast.BitsPerSecond()).To(BeNumerically(">", 8e6))
	}, NodeTimeout(2*time.Minute))

	It("is perfect again after each spec, and after Reset", func(ctx SpecContext) {
		Expect(roundTrip(ctx, alice, peer, 50)).To(BeNumerically("<", plain+10*time.Millisecond), "what the specs before had changed is undone")
		impair(ctx, labtest.Impairment{Delay: 100 * time.Millisecond})
		Expect(roundTrip(ctx, alice, peer, 10)).To(BeNumerically(">", 200*time.Millisecond))
		Expect(alice.Link("lan").Reset(ctx)).To(Succeed())
		Expect(roundTrip(ctx, alice, peer, 50)).To(BeNumerically("<", plain+10*time.Millisecond))
	}, NodeTimeout(2*time.Minute))

	It("varies the delay by the jitter", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Delay: 50 * time.Millisecond, Jitter: 30 * time.Millisecond})
		res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 200, Interval: 100 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		AddReportEntry("jitter", res.GomegaString())
		Expect(res.MinRTT()).To(BeNumerically("~", 22*time.Millisecond, 6*time.Millisecond))
		Expect(res.MaxRTT()).To(BeNumerically(">", 72*time.Millisecond))
		Expect(res.MedianRTT() - plain).To(BeNumerically("~", 50*time.Millisecond, 8*time.Millisecond))
	}, NodeTimeout(2*time.Minute))

	It("reorders frames", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Delay: 50 * time.Millisecond, Reorder: 25})
		res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 400, Interval: 10 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		early := 0
		for _, rtt := range res.RoundTrips() {
			if rtt < plain+25*time.Millisecond {
				early++
			}
		}
		Expect(early).To(within99(400, 0.25))
	}, NodeTimeout(2*time.Minute))

	It("combines what is asked of it, and keeps it apart from what is changed later", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Delay: 40 * time.Millisecond, Rate: 5 * labtest.Mbps})
		impair(ctx, labtest.Impairment{On: labtest.Egress, Loss: 10})
		res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 1000, Interval: 5 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, longer).Should(BeNumerically("~", 40*time.Millisecond, 2*time.Millisecond))
		Expect(1000 - res.Received()).To(within99(1000, 0.1))
		impair(ctx, labtest.Impairment{On: labtest.Egress, Loss: labtest.None})
		flow, err := alice.Throughput(ctx, bob, labtest.ThroughputOptions{Duration: 4 * time.Second, UDP: 8 * labtest.Mbps, PacketSize: 1472})
		Expect(err).NotTo(HaveOccurred())
		Expect(flow.BitsPerSecond()).To(BeNumerically("~", 5e6*1472/1514, 0.25e6))
	}, NodeTimeout(2*time.Minute))

	It("does what it says by the fabric's own measure", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{Preset: "friend_wan"})
		measured, err := alice.Link("lan").Measure(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(measured).To(HaveLen(2))
		AddReportEntry("measured", fmt.Sprint(measured))
	}, NodeTimeout(2*time.Minute))
})

// forMedian is how many round trips it takes for the 99 % interval of their median to be no wider than a tolerance. Each
// direction adds anything within the jitter, both together a triangle of twice its width, whose density in the middle is
// 1/(2*jitter); so the median's standard error, 1/(2*density*sqrt(n)), is jitter/sqrt(n). A third more makes up for what is
// lost and for the host.
func forMedian(jitter, tolerance time.Duration) int {
	root := 2.576 * float64(jitter) / float64(tolerance)
	return max(40, int(math.Ceil(root*root*4/3)))
}

// pair starts a lab of two machines on one network. With one seed the link loses the same frames each time, as far as the guests
// send the same: the intervals are of 99 %.
func pair(ctx context.Context) (alice, bob *labtest.Node) {
	GinkgoHelper()
	lab := labtest.Start(ctx, "../../topologies/lan.yaml", labtest.WithSeed(20260101))
	alice, bob = lab.Node("alice"), lab.Node("bob")
	// Frames to ARP's questions would be lost too, and with them all packets for some seconds: that is not what is measured.
	neighbours(ctx, alice, bob)
	neighbours(ctx, bob, alice)
	return alice, bob
}

// roundTrip is the median of some echoes from a machine to an address.
func roundTrip(ctx context.Context, from *labtest.Node, to string, count int) time.Duration {
	GinkgoHelper()
	res, err := from.Ping(ctx, to, labtest.PingOptions{Count: count, Interval: 5 * time.Millisecond})
	Expect(err).NotTo(HaveOccurred())
	Expect(res).To(BeReachable())
	return res.MedianRTT()
}
