package network_test

import (
	"context"
	"math"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// What is lost, doubled, spoilt or cut is so on a busy host, too: nothing here depends on milliseconds.
var _ = Describe("A bad link between two machines", Ordered, ContinueOnFailure, SpecPriority(1), Label("vm", "network", "impairments"), func() {
	var (
		alice, bob *labtest.Node
		peer       string // bob's address: a name would travel over the same link
	)

	BeforeAll(func(ctx SpecContext) {
		alice, bob = pair(ctx)
		peer = bob.Addr("lan").String()
	}, NodeTimeout(20*time.Minute))

	impair := func(ctx context.Context, i labtest.Impairment) {
		GinkgoHelper()
		Expect(alice.Link("lan").Impair(ctx, i)).To(Succeed())
	}

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

	It("becomes worse and worse by a timeline", func(ctx SpecContext) {
		s, err := alice.Link("lan").Schedule(ctx, labtest.Degrade(labtest.Impairment{Delay: labtest.None},
			labtest.Impairment{Delay: 100 * time.Millisecond}, 5*time.Second, 6))
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Wait(ctx)).To(Succeed())
		Expect(roundTrip(ctx, alice, peer, 20)).To(BeNumerically(">=", 200*time.Millisecond))
		Expect(s.Stop()).To(Succeed())
		Expect(roundTrip(ctx, alice, peer, 20)).To(BeNumerically("<", 50*time.Millisecond))
	}, NodeTimeout(2*time.Minute))
})

var _ = Describe("A link between two machines, cut", Ordered, ContinueOnFailure, SpecPriority(1), Label("vm", "network", "impairments"), func() {
	var (
		lab        *labtest.Lab
		alice, bob *labtest.Node
		peer       string
	)

	BeforeAll(func(ctx SpecContext) {
		alice, bob = pair(ctx)
		lab, peer = alice.Lab(), bob.Addr("lan").String()
	}, NodeTimeout(20*time.Minute))

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
})
