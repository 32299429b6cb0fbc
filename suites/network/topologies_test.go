package network_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

var _ = Describe("Two routed sites", Ordered, ContinueOnFailure, Label("vm", "network", "routers"), func() {
	var lab *labtest.Lab
	var alice, bob *labtest.Node

	BeforeAll(func(ctx SpecContext) {
		lab = labtest.Start(ctx, "../../topologies/wan-two-sites.yaml")
		alice, bob = lab.Node("alice"), lab.Node("bob")
	}, NodeTimeout(20*time.Minute))

	It("reach each other across both routers, with the delays of four directions", func(ctx SpecContext) {
		median := func() time.Duration {
			res, err := alice.Ping(ctx, bob.Addr("site-b").String(), labtest.PingOptions{Count: 50, Interval: 50 * time.Millisecond})
			Expect(err).NotTo(HaveOccurred())
			return res.MedianRTT()
		}
		right := BeNumerically("~", 82*time.Millisecond, 5*time.Millisecond)
		Expect(measured(median(), median, right)).To(right)
		Expect(alice.CheckPort(ctx, bob.Addr("site-b").String()+":22")).To(BeReachable())
	}, NodeTimeout(2*time.Minute))

	It("are told by the routers of a packet whose time is up", func(ctx SpecContext) {
		for ttl, who := range map[string]string{"1": "192.168.10.2", "2": "203.0.113."} {
			Expect(alice.Exec(ctx, "ping", "-c", "1", "-t", ttl, bob.Addr("site-b").String())).
				To(And(ExitWith(1), OutputContaining("From "+who), OutputContaining("Time to live exceeded")))
		}
	}, NodeTimeout(time.Minute))

	It("are told of packets too big for a link", func(ctx SpecContext) {
		Expect(alice.Exec(ctx, "ping", "-c", "1", "-M", "do", "-s", "1472", bob.Addr("site-b").String())).To(ExitWith(0))
	}, NodeTimeout(time.Minute))

	It("are parted by a partition that names them, though routers are between them", func(ctx SpecContext) {
		Expect(lab.Partition(ctx, []string{"alice"}, []string{"bob"})).To(Succeed())
		Expect(alice.Ping(ctx, bob.Addr("site-b").String(), labtest.PingOptions{Count: 3, Wait: 2 * time.Second})).NotTo(BeReachable())
		Expect(lab.Heal(ctx)).To(Succeed())
		Expect(alice.Ping(ctx, bob.Addr("site-b").String())).To(BeReachable())
	}, NodeTimeout(time.Minute))
})

var _ = Describe("Homes behind a carrier's NAT", Ordered, ContinueOnFailure, Label("vm", "network", "nat"), func() {
	var lab *labtest.Lab
	var alice, bob, server *labtest.Node

	BeforeAll(func(ctx SpecContext) {
		lab = labtest.Start(ctx, "../../topologies/cgnat.yaml")
		alice, bob, server = lab.Node("alice"), lab.Node("bob"), lab.Node("server")
		for _, node := range []*labtest.Node{alice, bob, server} {
			Expect(node.Deploy(ctx, punch)).To(Succeed())
		}
		_, err := server.Start(ctx, labtest.Cmd{Argv: []string{"punch", "serve", "-server", ":7000"}})
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(30*time.Minute))

	It("are seen by a server under the carrier's address", func(ctx SpecContext) {
		Expect(alice.Exec(ctx, "turnutils_stunclient", "203.0.113.50")).To(OutputMatching(`reflexive addr: 203\.0\.113\.7:\d+`))
		Expect(lab.Router("carrier").Mappings()).NotTo(BeEmpty())
	}, NodeTimeout(time.Minute))

	It("meet each other through the carrier's hairpin", func(ctx SpecContext) {
		ours, theirs := meet(ctx, alice, bob, "203.0.113.50:7000", "cgnat")
		Expect(ours.UDP).To(HaveField("OK", true))
		Expect(theirs.UDP).To(HaveField("OK", true))
	}, NodeTimeout(2*time.Minute))
})

var _ = Describe("A ship behind a satellite", Ordered, ContinueOnFailure, Label("vm", "network", "impairments"), func() {
	var ship, shore *labtest.Node

	BeforeAll(func(ctx SpecContext) {
		lab := labtest.Start(ctx, "../../topologies/satellite.yaml", labtest.WithSeed(20260101)) // the interval is of 99 %
		ship, shore = lab.Node("ship"), lab.Node("shore")
	}, NodeTimeout(20*time.Minute))

	It("is 600 ms away, there and back, with a fifth of the rate upwards", func(ctx SpecContext) {
		// Answers to ARP cross the sky, too: what waits for them is not lost on the way.
		Expect(ship.Ping(ctx, shore.Addr("sky").String(), labtest.PingOptions{Count: 5, Wait: 5 * time.Second})).To(BeReachable())
		ping := func() *labtest.PingResult {
			GinkgoHelper()
			res, err := ship.Ping(ctx, shore.Addr("sky").String(), labtest.PingOptions{Count: 200, Interval: 20 * time.Millisecond, Wait: 5 * time.Second})
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry("ping", res.GomegaString())
			return res
		}
		first := ping()
		Expect(200 - first.Received()).To(within99(200, 1-0.95*0.95))
		right := BeNumerically("~", 602*time.Millisecond, 30*time.Millisecond)
		again := func() time.Duration { return ping().MedianRTT() }
		Expect(measured(first.MedianRTT(), again, right)).To(right)
	}, NodeTimeout(2*time.Minute))
})

// Ten machines take a while to boot where they are emulated: LABELS=large runs this.
var _ = Describe("A federation of ten", Ordered, ContinueOnFailure, Label("vm", "network", "large"), func() {
	It("has four kinds of links", func(ctx SpecContext) {
		lab := labtest.Start(ctx, "../../topologies/federation-10.yaml")
		one := lab.Node("basement-1")
		for peer, rtt := range map[string]time.Duration{
			"basement-2": 2 * time.Millisecond, "home-1": 5 * time.Millisecond, "friend-1": 101 * time.Millisecond, "mobile-1": 201 * time.Millisecond,
		} {
			// Jitter keeps the order of frames: nearer to each other than it reaches, they would come later in the median.
			res, err := one.Ping(ctx, peer, labtest.PingOptions{Count: 60, Interval: 100 * time.Millisecond})
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(peer, res.GomegaString())
			Expect(res.MedianRTT()).To(BeNumerically("~", rtt, max(3*time.Millisecond, rtt/10)), peer)
		}
	}, NodeTimeout(60*time.Minute))
})
