package network_test

import (
	"context"
	"fmt"
	"math"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// Everything is on one link of alice's; so a round trip has its delay twice, and an echo is lost on either way.
var _ = Describe("A link between two machines", Ordered, ContinueOnFailure, Label("vm", "network", "impairments"), func() {
	var (
		lab        *labtest.Lab
		alice, bob *labtest.Node
		peer       string        // bob's address: a name would travel over the same link
		plain      time.Duration // the median round trip without an impairment
	)

	BeforeAll(func(ctx SpecContext) {
		// With one seed the link loses the same frames each time, as far as the guests send the same: the intervals are of 99 %.
		lab = labtest.Start(ctx, "../../topologies/lan.yaml", labtest.WithSeed(20260101))
		alice, bob = lab.Node("alice"), lab.Node("bob")
		peer = bob.Addr("lan").String()
		// Frames to ARP's questions would be lost too, and with them all packets for some seconds: that is not what is measured.
		neighbours(ctx, alice, bob)
		neighbours(ctx, bob, alice)
		plain = roundTrip(ctx, alice, peer, 200)
		AddReportEntry("median round trip of a perfect link", plain.String())
	}, NodeTimeout(20*time.Minute))

	impair := func(ctx context.Context, i labtest.Impairment) {
		GinkgoHelper()
		Expect(alice.Link("lan").Impair(ctx, i)).To(Succeed())
	}

	DescribeTable("has a preset's delay and loss",
		func(ctx SpecContext, preset string, delay, jitter time.Duration, lossPercent float64) {
			const probes = 2000
			impair(ctx, labtest.Impairment{Preset: preset})
			res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: probes, Interval: 5 * time.Millisecond, Wait: 15 * time.Second})
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(preset, res.GomegaString())
			Expect(res.Sent()).To(Equal(probes))
			pass := 1 - lossPercent/100
			Expect(probes - res.Received()).To(within99(probes, 1-pass*pass))
			Expect(res.MinRTT()).To(BeNumerically(">", 2*(delay-jitter)))

			// Jitter keeps the order of frames: the median is that of the delay where they are further apart than the jitter
			// reaches. Where that would take minutes, it is measured without.
			with, apart := labtest.Impairment{Preset: preset}, max(5*time.Millisecond, 2*jitter)
			if apart > 100*time.Millisecond {
				with.Jitter, apart = labtest.None, 5*time.Millisecond
			}
			added := func() time.Duration {
				impair(ctx, with)
				on, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 200, Interval: apart, Wait: 15 * time.Second})
				Expect(err).NotTo(HaveOccurred())
				Expect(alice.Link("lan").Reset(ctx)).To(Succeed())
				plain := roundTrip(ctx, alice, peer, 200)
				AddReportEntry(preset, fmt.Sprintf("%s; median without: %s", on.GomegaString(), plain))
				return on.MedianRTT() - plain
			}
			// What else the host does in one of the two measurements makes them differ: then they are made again.
			Eventually(added).WithPolling(time.Millisecond).WithTimeout(time.Minute).
				Should(BeNumerically("~", 2*delay, max(time.Millisecond, 2*delay/20)))
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
				impair(ctx, labtest.Impairment{Rate: rate})
				got := measured(throughput, BeNumerically("~", want, want/20))
				Expect(alice.Link("lan").Reset(ctx)).To(Succeed())
				if rate >= 50*labtest.Mbps && got < 0.95*want {
					// An emulated guest may not be able to drive more than that: then it does no better without the limit.
					Expect(throughput()).To(BeNumerically("<", 1.3*want), "%s UDP %t: %.3g bit/s where %.3g were to pass", rate, udp, got, want)
					continue
				}
				Expect(got).To(BeNumerically("~", want, want/20), "%s UDP %t", rate, udp)
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

	It("duplicates frames", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Duplicate: 20})
		res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 1000, Interval: 5 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Received()).To(Equal(1000))
		Expect(res.Duplicates()).To(within99(1000, 0.2))
	}, NodeTimeout(2*time.Minute))

	It("corrupts frames, which the receiver's checksums find", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Corrupt: 20})
		res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 500, Interval: 5 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		AddReportEntry("corruption", res.GomegaString())
		Expect(res.LossPercent()).To(BeNumerically(">", 5))
		// What TCP delivers is right all the same.
		Expect(alice.Shell(ctx, "seq 20000 > /tmp/numbers && sha256sum < /tmp/numbers")).To(ExitWith(0))
		server, err := bob.Start(ctx, labtest.Cmd{Argv: []string{"python3", "-c", digestServer}})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(server.Kill)
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(gbytes.Say("listening"))
		Expect(alice.Shell(ctx, "cat /tmp/numbers > /dev/tcp/bob/9998")).To(ExitWith(0))
		Eventually(ctx, server.Out).Within(time.Minute).Should(gbytes.Say("00a4c1d9|[0-9a-f]{64}"))
		sum, err := alice.Shell(ctx, "sha256sum < /tmp/numbers")
		Expect(err).NotTo(HaveOccurred())
		Expect(string(server.Out.Contents())).To(ContainSubstring(sum.Stdout()[:64]))
	}, NodeTimeout(3*time.Minute))

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

	It("loses frames in bursts", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{On: labtest.Egress, Bursts: labtest.GilbertElliott{Enter: 1, Leave: 10, LossBad: 100}})
		res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 3000, Interval: 4 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		AddReportEntry("bursts", res.GomegaString())
		// Bad 1/(1+10) of the time; bursts of ten frames make the count vary sqrt(10+10-1) times as much.
		Expect(res.LossPercent()).To(BeNumerically("~", 9.1, 2.58*100*math.Sqrt(0.091*0.909/3000*19)))
		counters, err := alice.Link("lan").Counters()
		Expect(err).NotTo(HaveOccurred())
		Expect(counters.Dropped[labtest.Lost]).To(BeNumerically(">", 100))
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

	It("lets commands and copies through whatever is cut", func(ctx SpecContext) {
		works := func(how string) {
			GinkgoHelper()
			Expect(alice.Ping(ctx, peer, labtest.PingOptions{Count: 3, Wait: time.Second})).NotTo(BeReachable(), how)
			Expect(alice.Exec(ctx, "echo", "still here")).To(And(ExitWith(0), OutputContaining("still here")), how)
			Expect(alice.WriteFile(ctx, "/tmp/"+how, make([]byte, 1<<20), 0o600)).To(Succeed(), how)
			Expect(alice.ReadFile(ctx, "/tmp/"+how)).To(HaveLen(1<<20), how)
		}
		Expect(lab.Network("lan").Impair(ctx, labtest.Impairment{Loss: 100})).To(Succeed())
		works("loss")
		Expect(lab.Network("lan").Reset(ctx)).To(Succeed())
		Expect(lab.Partition(ctx, []string{"alice"}, []string{"bob"})).To(Succeed())
		works("partition")
		Expect(lab.Heal(ctx)).To(Succeed())
		Expect(alice.Link("lan").Down(ctx)).To(Succeed())
		works("down")
		Expect(alice.Link("lan").Up(ctx)).To(Succeed())
		Expect(alice.Ping(ctx, peer)).To(BeReachable())
	}, NodeTimeout(3*time.Minute))

	It("cuts one way alone", func(ctx SpecContext) {
		server, err := bob.Start(ctx, labtest.Cmd{Argv: []string{"python3", "-u", "-c", datagrams}})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(server.Kill)
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(gbytes.Say("listening"))
		Expect(lab.PartitionOneWay(ctx, []string{"bob"}, []string{"alice"})).To(Succeed())
		Expect(alice.Ping(ctx, peer, labtest.PingOptions{Count: 3, Wait: time.Second})).NotTo(BeReachable())
		Expect(alice.Shell(ctx, "echo one way > /dev/udp/bob/9997")).To(ExitWith(0))
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(gbytes.Say("one way"))
	}, NodeTimeout(2*time.Minute))

	It("lets a TCP connection survive a partition of 20 s", func(ctx SpecContext) {
		server, err := bob.Start(ctx, labtest.Cmd{Argv: []string{"python3", "-u", "-c", counter}})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(server.Kill)
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(gbytes.Say("listening"))
		client, err := alice.Start(ctx, labtest.Cmd{Shell: "exec 3<>/dev/tcp/bob/9996; n=0; while :; do n=$((n+1)); echo $n >&3; sleep 0.2; done"})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(client.Kill)
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(gbytes.Say(`got 10\n`))
		Expect(lab.Partition(ctx, []string{"alice"}, []string{"bob"})).To(Succeed())
		select {
		case <-time.After(20 * time.Second):
		case <-ctx.Done():
		}
		before := len(server.Out.Contents())
		Consistently(ctx, func() int { return len(server.Out.Contents()) }).WithTimeout(time.Second).Should(Equal(before), "nothing passes")
		Expect(lab.Heal(ctx)).To(Succeed())
		Eventually(ctx, server.Out).Within(time.Minute).Should(gbytes.Say(`got 60\n`), "what was sent meanwhile")
		Expect(client.ExitCode()).To(Equal(-1))
		Expect(string(server.Out.Contents())).NotTo(ContainSubstring("gap"))
	}, NodeTimeout(3*time.Minute))

	It("flaps by a timeline that ends with the spec", func(ctx SpecContext) {
		_, err := alice.Link("lan").Schedule(ctx, labtest.Flap(2*time.Second, time.Second))
		Expect(err).NotTo(HaveOccurred())
		res, err := alice.Ping(ctx, peer, labtest.PingOptions{Count: 200, Interval: 50 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		Expect(res.LossPercent()).To(BeNumerically("~", 50, 15))
	}, NodeTimeout(2*time.Minute))

	It("is whole after the timeline's spec", func(ctx SpecContext) {
		Expect(alice.Ping(ctx, peer, labtest.PingOptions{Count: 50, Interval: 50 * time.Millisecond})).To(HavePacketLoss(BeZero()))
	}, NodeTimeout(time.Minute))

	It("becomes worse and worse by a timeline", func(ctx SpecContext) {
		s, err := alice.Link("lan").Schedule(ctx, labtest.Degrade(labtest.Impairment{Delay: labtest.None},
			labtest.Impairment{Delay: 100 * time.Millisecond}, 5*time.Second, 6))
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Wait(ctx)).To(Succeed())
		Expect(roundTrip(ctx, alice, peer, 20)).To(BeNumerically(">", 200*time.Millisecond))
		Expect(s.Stop()).To(Succeed())
		Expect(roundTrip(ctx, alice, peer, 20)).To(BeNumerically("<", 50*time.Millisecond))
	}, NodeTimeout(2*time.Minute))

	It("is captured, with the spec's steps, in a file that other programs read", func(ctx SpecContext) {
		capture, err := lab.Network("lan").Capture(ctx)
		Expect(err).NotTo(HaveOccurred())
		By("pinging")
		Expect(alice.Ping(ctx, peer, labtest.PingOptions{Count: 3})).To(BeReachable())
		capture.Mark("a mark")
		Expect(capture.Close()).To(Succeed())
		frames, comments := readCapture(capture.Path())
		Expect(frames).To(BeNumerically(">=", 12), "three echoes and answers, seen at two links")
		Expect(comments).To(ContainElements(ContainSubstring(": pinging"), ContainSubstring("ping -n -c 3"), ContainSubstring("a mark")))
	}, NodeTimeout(time.Minute))

	It("does what it says by the fabric's own measure", func(ctx SpecContext) {
		impair(ctx, labtest.Impairment{Preset: "friend_wan"})
		measured, err := alice.Link("lan").Measure(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(measured).To(HaveLen(2))
		AddReportEntry("measured", fmt.Sprint(measured))
	}, NodeTimeout(2*time.Minute))
})

// roundTrip is the median of some echoes from a machine to an address.
func roundTrip(ctx context.Context, from *labtest.Node, to string, count int) time.Duration {
	GinkgoHelper()
	res, err := from.Ping(ctx, to, labtest.PingOptions{Count: count, Interval: 5 * time.Millisecond})
	Expect(err).NotTo(HaveOccurred())
	Expect(res).To(BeReachable())
	return res.MedianRTT()
}
