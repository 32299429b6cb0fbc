package network_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// Everything is on one link of alice's; so a round trip has its delay twice, and an echo is lost on either way. Nothing else may
// keep the host busy meanwhile: that would be measured, too. far_test.go has what a busy host does not change.
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
		func(ctx SpecContext, p preset) { p.check(ctx, alice, peer) },
		Entry(nil, preset{"localhost", 0, 0, 0}, NodeTimeout(3*time.Minute)),
		Entry(nil, preset{"basement_lan", 500 * time.Microsecond, 100 * time.Microsecond, 0}, NodeTimeout(3*time.Minute)),
		Entry(nil, preset{"home_lan", 2 * time.Millisecond, time.Millisecond, 0.01}, NodeTimeout(3*time.Minute)),
		Entry(nil, preset{"campus", 5 * time.Millisecond, 0, 0.01}, NodeTimeout(3*time.Minute)),
		Entry(nil, preset{"broadband", 20 * time.Millisecond, 0, 0.1}, NodeTimeout(3*time.Minute)),
		Entry(nil, preset{"friend_wan", 50 * time.Millisecond, 10 * time.Millisecond, 0.5}, NodeTimeout(3*time.Minute)),
	)

	DescribeTable("lets through what its rate says, and no more",
		func(ctx SpecContext, rate labtest.Rate) { letsThrough(ctx, alice, bob, rate) },
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
		Expect(roundTrip(ctx, alice, peer, 10)).To(BeNumerically(">=", 200*time.Millisecond))
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
		throughput := func() float64 {
			GinkgoHelper()
			flow, err := alice.Throughput(ctx, bob, labtest.ThroughputOptions{Duration: 4 * time.Second, UDP: 8 * labtest.Mbps, PacketSize: 1472})
			Expect(err).NotTo(HaveOccurred())
			return flow.BitsPerSecond()
		}
		right := BeNumerically("~", 5e6*1472/1514, 0.25e6)
		Expect(measured(throughput(), throughput, right)).To(right)
	}, NodeTimeout(2*time.Minute))

	It("does what it says by the fabric's own measure", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{Preset: "friend_wan"})
		measured, err := alice.Link("lan").Measure(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(measured).To(HaveLen(2))
		AddReportEntry("measured", fmt.Sprint(measured))
	}, NodeTimeout(2*time.Minute))
})

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
