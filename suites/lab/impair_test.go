package lab_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// impairSeed makes each run lose the same packets, as far as the guests send the same: the intervals below are of 99 %.
const impairSeed = 20260101

// pair are the machines of topologies/lan.yaml, and what a ping between them takes without any impairment.
type pair struct {
	lab        *labtest.Lab
	alice, bob *labtest.Node
	bare       time.Duration
}

var _ = Describe("Impaired links", Ordered, ContinueOnFailure, Label("vm", "networks", "impair"), func() {
	p := &pair{}

	BeforeAll(func(ctx SpecContext) {
		p.lab = labtest.Start(ctx, "../../topologies/lan.yaml", labtest.WithSeed(impairSeed))
		p.alice, p.bob = p.lab.Node("alice"), p.lab.Node("bob")
		bare, err := p.alice.Ping(ctx, "bob", labtest.PingOptions{Count: 50, Interval: 20 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		Expect(bare).To(HavePacketLoss(BeZero()))
		p.bare = bare.MedianRTT()
	}, NodeTimeout(20*time.Minute))

	AfterEach(func() {
		DeferCleanup(func() { // after what the spec has changed was brought back
			Expect(p.alice.Link("lan").GomegaString()).To(Equal("<link alice@lan: none>"))
			Expect(p.bob.Link("lan").GomegaString()).To(Equal("<link bob@lan: none>"))
		})
	})

	Describe("delay", func() { delaySpecs(p) })
	Describe("loss", func() { lossSpecs(p) })
	Describe("rate", func() { rateSpecs(p) })
	Describe("damage to frames", func() { frameSpecs(p) })
	Describe("cuts", func() { cutSpecs(p) })
	Describe("captures and schedules", func() { watchSpecs(p) })
})

// slower expects a median round trip that is longer than the bare one by extra, within 5 % or 1 ms.
func (p *pair) slower(extra time.Duration) OmegaMatcher {
	return HaveRTT(BeNumerically("~", p.bare+extra, max(extra/20, time.Millisecond)))
}

func delaySpecs(p *pair) {
	DescribeTable("of each preset", func(ctx SpecContext, preset string, oneWay, jitter time.Duration, loss float64) {
		Expect(p.alice.Link("lan").Impair(ctx, labtest.Impairment{Preset: preset})).To(Succeed())
		// Frames keep their order: pings so far apart that none catches up with another are not held up by it.
		o := labtest.PingOptions{Count: 80, Interval: max(50*time.Millisecond, 2*jitter), Wait: 10 * time.Second}
		r, err := p.alice.Ping(ctx, "bob", o)
		Expect(err).NotTo(HaveOccurred())
		Expect(r).To(p.slower(2 * oneWay))
		there := loss / 100
		Expect(r).To(HavePacketLoss(within(100*(1-(1-there)*(1-there)), o.Count)))
		Expect(p.alice.Link("lan").Measure(ctx)).NotTo(BeEmpty())
	},
		Entry("localhost", "localhost", 0*time.Millisecond, 0*time.Millisecond, 0.0),
		Entry("home_lan", "home_lan", 2*time.Millisecond, 1*time.Millisecond, 0.01),
		Entry("campus", "campus", 5*time.Millisecond, 0*time.Millisecond, 0.01),
		Entry("broadband", "broadband", 20*time.Millisecond, 0*time.Millisecond, 0.1),
		Entry("friend_wan", "friend_wan", 50*time.Millisecond, 10*time.Millisecond, 0.5),
		Entry("cellular", "cellular", 100*time.Millisecond, 0*time.Millisecond, 2.0),
		Entry("mobile_cell", "mobile_cell", 100*time.Millisecond, 30*time.Millisecond, 2.0),
		Entry("satellite", "satellite", 600*time.Millisecond, 50*time.Millisecond, 5.0),
		Entry("deep_space", "deep_space", 2000*time.Millisecond, 200*time.Millisecond, 10.0),
		NodeTimeout(4*time.Minute))

	It("can be changed while packets fly, and goes one way only when asked", func(ctx SpecContext) {
		link := p.bob.Link("lan")
		few := labtest.PingOptions{Count: 30, Interval: 20 * time.Millisecond}
		Expect(link.Impair(ctx, labtest.Impairment{Delay: 100 * time.Millisecond, On: labtest.Egress})).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", few)).To(p.slower(100 * time.Millisecond))
		Expect(link.Impair(ctx, labtest.Impairment{Delay: 30 * time.Millisecond})).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", few)).To(p.slower(60 * time.Millisecond))
		Expect(link.Impair(ctx, labtest.Impairment{Delay: labtest.None, On: labtest.Ingress})).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", few)).To(p.slower(30 * time.Millisecond))
		Expect(link.Reset(ctx)).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", few)).To(p.slower(0))
	}, NodeTimeout(3*time.Minute))

	It("varies by its jitter", func(ctx SpecContext) {
		Expect(p.bob.Link("lan").Impair(ctx, labtest.Impairment{
			Delay: 60 * time.Millisecond, Jitter: 20 * time.Millisecond, On: labtest.Ingress,
		})).To(Succeed())
		r, err := p.alice.Ping(ctx, "bob", labtest.PingOptions{Count: 200, Interval: 60 * time.Millisecond})
		Expect(err).NotTo(HaveOccurred())
		Expect(r).To(HaveRTT(BeNumerically("~", p.bare+60*time.Millisecond, 5*time.Millisecond)))
		Expect(r.MinRTT()).To(BeNumerically("~", p.bare+42*time.Millisecond, 5*time.Millisecond))
		Expect(r.MaxRTT()).To(BeNumerically(">", p.bare+70*time.Millisecond))
	}, NodeTimeout(2*time.Minute))
}

// within is the 99 % interval of a share of so many packets, in percent; a lone packet more is no news.
func within(percent float64, packets int) OmegaMatcher {
	share := percent / 100
	return BeNumerically("~", percent, 100*(2.576*math.Sqrt(share*(1-share)/float64(packets))+1/float64(packets)))
}

func lossSpecs(p *pair) {
	flood := labtest.PingOptions{Count: 2000, Interval: 5 * time.Millisecond, Wait: 2 * time.Second}

	DescribeTable("of 2000 probes", func(ctx SpecContext, i labtest.Impairment, percent float64) {
		i.On = labtest.Egress
		Expect(p.alice.Link("lan").Impair(ctx, i)).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", flood)).To(HavePacketLoss(within(percent, 2000)))
	},
		Entry("1 %", labtest.Impairment{Loss: 1}, 1.0),
		Entry("5 %", labtest.Impairment{Loss: 5}, 5.0),
		Entry("25 %", labtest.Impairment{Loss: 25}, 25.0),
		Entry("with a delay", labtest.Impairment{Loss: 5, Delay: 20 * time.Millisecond}, 5.0),
		NodeTimeout(3*time.Minute))

	It("comes in bursts", func(ctx SpecContext) {
		Expect(p.alice.Link("lan").Impair(ctx, labtest.Impairment{
			Bursts: labtest.GilbertElliott{Enter: 1, Leave: 20, LossBad: 100}, On: labtest.Egress,
		})).To(Succeed())
		r, err := p.alice.Ping(ctx, "bob", flood)
		Expect(err).NotTo(HaveOccurred())
		// 1/21 of the packets; that they come in runs of five makes the share vary about three times as much.
		Expect(r.LossPercent()).To(BeNumerically("~", 100.0/21, 4))
	}, NodeTimeout(3*time.Minute))
}

// payload is the share of full Ethernet frames that is TCP's (1448 bytes besides 66 of headers) or UDP's payload.
const (
	tcpPayload = 1448.0 / 1514
	udpPayload = 1400.0 / 1442
)

func rateSpecs(p *pair) {
	DescribeTable("of TCP", func(ctx SpecContext, rate labtest.Rate) {
		Expect(p.alice.Link("lan").Impair(ctx, labtest.Impairment{Rate: rate})).To(Succeed())
		Expect(p.alice.Throughput(ctx, p.bob, labtest.ThroughputOptions{Duration: 8 * time.Second, Omit: 2 * time.Second})).
			To(HaveThroughput(BeNumerically("~", tcpPayload*rate, 0.05*rate)))
	},
		Entry("1 Mbit/s", 1*labtest.Mbps), Entry("10 Mbit/s", 10*labtest.Mbps), Entry("50 Mbit/s", 50*labtest.Mbps),
		NodeTimeout(3*time.Minute))

	It("of UDP, whose excess the queue drops", func(ctx SpecContext) {
		link := p.alice.Link("lan")
		Expect(link.Impair(ctx, labtest.Impairment{Rate: 5 * labtest.Mbps})).To(Succeed())
		Expect(p.alice.Throughput(ctx, p.bob, labtest.ThroughputOptions{UDP: 10 * labtest.Mbps})).To(And(
			HaveThroughput(BeNumerically("~", 5*udpPayload*labtest.Mbps, 0.25*labtest.Mbps)), HavePacketLoss(BeNumerically(">", 40))))
		counters, err := link.Counters()
		Expect(err).NotTo(HaveOccurred())
		Expect(counters.Dropped[labtest.QueueFull]).To(BeNumerically(">", 100))
	}, NodeTimeout(3*time.Minute))

	It("one way only", func(ctx SpecContext) {
		Expect(p.alice.Link("lan").Impair(ctx, labtest.Impairment{Rate: 2 * labtest.Mbps, On: labtest.Egress})).To(Succeed())
		o := labtest.ThroughputOptions{Duration: 5 * time.Second, Omit: 2 * time.Second}
		Expect(p.alice.Throughput(ctx, p.bob, o)).To(HaveThroughput(BeNumerically("~", 2*tcpPayload*labtest.Mbps, 0.1*labtest.Mbps)))
		o.Reverse = true
		Expect(p.alice.Throughput(ctx, p.bob, o)).To(HaveThroughput(BeNumerically(">", 10*labtest.Mbps)))
	}, NodeTimeout(3*time.Minute))
}

func frameSpecs(p *pair) {
	many := labtest.PingOptions{Count: 400, Interval: 10 * time.Millisecond, Wait: 2 * time.Second}

	It("sends frames twice", func(ctx SpecContext) {
		Expect(p.bob.Link("lan").Impair(ctx, labtest.Impairment{Duplicate: 20, On: labtest.Egress})).To(Succeed())
		r, err := p.alice.Ping(ctx, "bob", many)
		Expect(err).NotTo(HaveOccurred())
		Expect(float64(r.Duplicates()) / 4).To(within(20, 400))
	}, NodeTimeout(2*time.Minute))

	It("lets frames overtake others", func(ctx SpecContext) {
		link := p.bob.Link("lan")
		Expect(link.Impair(ctx, labtest.Impairment{Delay: 100 * time.Millisecond, Reorder: 25, On: labtest.Ingress})).To(Succeed())
		r, err := p.alice.Ping(ctx, "bob", many)
		Expect(err).NotTo(HaveOccurred())
		early := 0
		for _, rtt := range r.RoundTrips() {
			if rtt < p.bare+50*time.Millisecond {
				early++
			}
		}
		Expect(float64(early) / 4).To(within(25, 400))
	}, NodeTimeout(2*time.Minute))

	It("breaks frames, which the guest's checksums find", func(ctx SpecContext) {
		link := p.bob.Link("lan")
		Expect(link.Impair(ctx, labtest.Impairment{Corrupt: 20, On: labtest.Ingress})).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", many)).To(HavePacketLoss(within(20, 400)))
		counters, err := link.Counters()
		Expect(err).NotTo(HaveOccurred())
		Expect(counters.Corrupted).To(BeNumerically(">", 40))
	}, NodeTimeout(2*time.Minute))
}

func cutSpecs(p *pair) {
	once := labtest.PingOptions{Count: 2, Wait: time.Second}

	DescribeTable("leave the control path alone", func(ctx SpecContext, cut func(context.Context) error) {
		Expect(cut(ctx)).To(Succeed())
		// An address that ARP has forgotten makes ping report the host as unreachable; either way no answer comes.
		Expect(p.alice.Ping(ctx, p.bob.Addr("lan").String(), once)).NotTo(BeReachable())
		for _, node := range []*labtest.Node{p.alice, p.bob} {
			Expect(node.Exec(ctx, "true")).To(ExitWith(0))
			dir := GinkgoT().TempDir()
			Expect(os.WriteFile(filepath.Join(dir, "there"), []byte(strings.Repeat("x", 1<<20)), 0o600)).To(Succeed())
			Expect(node.Upload(ctx, filepath.Join(dir, "there"), "/var/tmp/there")).To(Succeed())
			Expect(node.Download(ctx, "/var/tmp/there", filepath.Join(dir, "back"))).To(Succeed())
			Expect(os.ReadFile(filepath.Join(dir, "back"))).To(HaveLen(1 << 20))
		}
	},
		Entry("with all packets lost", func(ctx context.Context) error {
			return p.lab.Network("lan").Impair(ctx, labtest.Impairment{Loss: 100})
		}),
		Entry("with a partition", func(ctx context.Context) error { return p.lab.Partition(ctx, []string{"alice"}, []string{"bob"}) }),
		Entry("with links down", func(ctx context.Context) error {
			for _, link := range p.lab.Network("lan").Links() {
				if err := link.Down(ctx); err != nil {
					return err
				}
			}
			return nil
		}),
		NodeTimeout(3*time.Minute))

	It("can be one-way", func(ctx SpecContext) {
		Expect(p.lab.PartitionOneWay(ctx, []string{"alice"}, []string{"bob"})).To(Succeed())
		before, err := p.bob.Link("lan").Counters()
		Expect(err).NotTo(HaveOccurred())
		Expect(p.alice.Ping(ctx, "bob", once)).NotTo(BeReachable())
		after, err := p.bob.Link("lan").Counters()
		Expect(err).NotTo(HaveOccurred())
		Expect(after.Dropped[labtest.Partitioned]).To(BeNumerically(">", before.Dropped[labtest.Partitioned]))
		Expect(p.lab.Heal(ctx)).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", once)).To(BeReachable())
	}, NodeTimeout(2*time.Minute))

	It("are outlived by a connection", func(ctx SpecContext) {
		server, err := p.bob.Start(ctx, labtest.Cmd{Argv: []string{"python3", "-uc", counter}})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(server.Kill)
		Eventually(ctx, server.Out).Within(time.Minute).Should(say("listening"))
		client, err := p.alice.Start(ctx, labtest.Cmd{Shell: `exec 3<>/dev/tcp/bob/9998; n=0; while n=$((n+1)); do echo "$n" >&3; sleep 0.5; done`})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(client.Kill)
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(say("got 3"))
		Expect(p.lab.Partition(ctx, []string{"alice"}, []string{"bob"})).To(Succeed())
		seen := len(server.Out.Contents())
		Consistently(ctx, func() int { return len(server.Out.Contents()) }).Within(20*time.Second).ProbeEvery(time.Second).
			Should(BeNumerically("<=", seen+20), "nothing gets through but what was under way")
		Expect(p.lab.Heal(ctx)).To(Succeed())
		Eventually(ctx, func() string { return string(server.Out.Contents()) }).Within(time.Minute).
			Should(ContainSubstring("got 40\n"), "what was sent meanwhile, over the same connection")
		Expect(client.ExitCode()).To(Equal(-1), "it goes on")
		Expect(string(server.Out.Contents())).NotTo(ContainSubstring("connection 2"))
	}, NodeTimeout(4*time.Minute))
}

// counter prints what comes over each connection to port 9998, line by line.
const counter = `
import socket
s = socket.create_server(("", 9998))
print("listening")
n = 0
while True:
    c, peer = s.accept()
    n += 1
    print("connection", n)
    for line in c.makefile():
        print("got", line.strip())
`

func watchSpecs(p *pair) {
	It("writes a capture with the spec's steps", func(ctx SpecContext) {
		capture, err := p.lab.Network("lan").Capture(ctx)
		Expect(err).NotTo(HaveOccurred())
		By("pinging")
		Expect(p.alice.Ping(ctx, "bob", labtest.PingOptions{Count: 3})).To(BeReachable())
		capture.Mark("a mark")
		Expect(capture.Frames()).To(BeNumerically(">=", 6))
		Expect(capture.Close()).To(Succeed())
		data, err := os.ReadFile(capture.Path())
		Expect(err).NotTo(HaveOccurred())
		Expect(string(data)).To(And(HavePrefix("\x0a\x0d\x0d\x0a"), ContainSubstring("alice@lan"), ContainSubstring(": pinging"),
			ContainSubstring("ping -n -c 3"), ContainSubstring("a mark")))
	}, NodeTimeout(time.Minute))

	It("flaps a link", func(ctx SpecContext) {
		_, err := p.bob.Link("lan").Schedule(ctx, labtest.Flap(4*time.Second, 2*time.Second))
		Expect(err).NotTo(HaveOccurred())
		r, err := p.alice.Ping(ctx, p.bob.Addr("lan").String(), labtest.PingOptions{Count: 200, Interval: 100 * time.Millisecond, Wait: time.Second})
		Expect(err).NotTo(HaveOccurred())
		Expect(r.LossPercent()).To(BeNumerically("~", 50, 15), fmt.Sprint(r.GomegaString()))
	}, NodeTimeout(2*time.Minute))

	It("makes a link worse and worse", func(ctx SpecContext) {
		s, err := p.bob.Link("lan").Schedule(ctx, labtest.Degrade(labtest.Impairment{Delay: labtest.None},
			labtest.Impairment{Delay: 100 * time.Millisecond}, 5*time.Second, 6))
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Wait(ctx)).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", labtest.PingOptions{Count: 20, Interval: 50 * time.Millisecond})).To(p.slower(200 * time.Millisecond))
		Expect(s.Stop()).To(Succeed())
		Expect(p.alice.Ping(ctx, "bob", labtest.PingOptions{Count: 20, Interval: 50 * time.Millisecond})).To(p.slower(0))
	}, NodeTimeout(2*time.Minute))
}
