package rustdesk_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/labtest"
	. "ionlab/matchers"
)

// wanServer is where rustdesk-wan.yaml has the server.
const wanServer = "203.0.113.50"

// exhaustive is the label of what takes too long for each run: make rustdesk-matrix.
const exhaustive = "exhaustive"

// The lines that hardly carry anything take minutes, and so do the cuts. The bounds are computed from the lines.
var _ = Describe("Over lines of all kinds: "+product().String(), Ordered, ContinueOnFailure, Label("vm", "rustdesk", exhaustive), func() {
	w := &world{}

	BeforeAll(func(ctx SpecContext) {
		w.start(ctx, "rustdesk-wan", wanServer)
	}, NodeTimeout(30*time.Minute))

	presetSpecs(w)
	lossSpecs(w)
	partitionSpecs(w)
})

func presetSpecs(w *world) {
	// The host's line has the preset, the client's is broadband: the round trip between them is 80 ms and twice the preset's
	// delay. A login takes a dozen round trips, and more where packets are lost.
	DescribeTable("logs in within its bound and measures the session (R25)",
		func(ctx SpecContext, preset string, delay, jitter, bound time.Duration, bytes int) {
			Expect(w.desk.Link("wan").Impair(ctx, labtest.Impairment{Preset: preset})).To(Succeed())
			s := w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: bytes, Within: 3 * time.Minute})
			reportSession(preset, s)
			Expect(s.Error).To(BeEmpty())
			Expect(s.Echo.Exact).To(BeTrue())
			Expect(s.Echo.RTT).To(BeNumerically(">=", 2*(delay-jitter)+40*time.Millisecond), "the line is what it should be")
			Expect(time.Duration(s.TookMS["total"]) * time.Millisecond).To(BeNumerically("<", bound))
		},
		Entry(nil, "home_lan", 2*time.Millisecond, time.Millisecond, 6*time.Second, mebibyte, NodeTimeout(4*time.Minute)),
		Entry(nil, "broadband", 20*time.Millisecond, time.Duration(0), 8*time.Second, mebibyte, NodeTimeout(4*time.Minute)),
		Entry(nil, "friend_wan", 50*time.Millisecond, 10*time.Millisecond, 12*time.Second, mebibyte, NodeTimeout(4*time.Minute)),
		Entry(nil, "cellular", 100*time.Millisecond, time.Duration(0), 20*time.Second, 128<<10, NodeTimeout(4*time.Minute)),
		Entry(nil, "mobile_cell", 100*time.Millisecond, 30*time.Millisecond, 20*time.Second, 128<<10, NodeTimeout(4*time.Minute)),
		Entry(nil, "satellite", 600*time.Millisecond, 50*time.Millisecond, time.Minute, 16<<10, NodeTimeout(4*time.Minute)),
	)

	DescribeTable("ends with a session or with a reason where lines hardly carry anything, and stays alive (R25)", Label(exhaustive),
		func(ctx SpecContext, preset string) {
			Expect(w.desk.Link("wan").Impair(ctx, labtest.Impairment{Preset: preset})).To(Succeed())
			s := w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: 4 << 10, Within: 4 * time.Minute})
			if s.Error != "" {
				report(preset, "no session: "+s.Error)
			} else {
				reportSession(preset, s)
				Expect(s.Echo.Exact).To(BeTrue())
			}
			Expect(w.desk.Link("wan").Reset(ctx)).To(Succeed())
			Eventually(ctx, w.listed).WithContext(ctx).Within(40 * time.Second).ProbeEvery(time.Second).Should(BeTrue())
			Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(BeEmpty())
		},
		Entry(nil, "urban_congested", NodeTimeout(8*time.Minute)),
		Entry(nil, "intermittent", NodeTimeout(8*time.Minute)),
	)

	It("logs in within 10 s over 200 ms each way, and measures at least 400 ms (C34)", func(ctx SpecContext) {
		Expect(w.desk.Link("wan").Impair(ctx, labtest.Impairment{
			Delay: 200 * time.Millisecond, Jitter: labtest.None, Loss: labtest.None, Rate: labtest.None,
		})).To(Succeed())
		s := w.connect(ctx, rustdesk.Connection{Delays: 3})
		Expect(s.Error).To(BeEmpty())
		report("200 ms each way", s)
		Expect(s.TookMS["total"]).To(BeNumerically("<", 10_000))
		Expect(s.DelaysMS).To(And(HaveLen(3), HaveEach(BeNumerically(">=", 400)), HaveEach(BeNumerically("<", 1500))))
	}, NodeTimeout(3*time.Minute))
}

func lossSpecs(w *world) {
	It("logs in ten times of ten where 5 % are lost, and stays online for two minutes (C35)", func(ctx SpecContext) {
		Expect(w.desk.Link("wan").Impair(ctx, labtest.Impairment{Loss: 5})).To(Succeed())
		began := clock(ctx, w.server)
		for try := range 10 {
			Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(BeEmpty(), "login %d", try+1)
			Consistently(ctx, w.listed).WithContext(ctx).Within(12 * time.Second).ProbeEvery(2 * time.Second).Should(BeTrue())
		}
		ended, last := clock(ctx, w.server), began
		Expect(ended.Sub(began)).To(BeNumerically(">=", 2*time.Minute))
		for _, e := range w.since(ctx, began, "RegisterPeer") {
			Expect(e.Time.Sub(last)).To(BeNumerically("<", 30*time.Second))
			last = e.Time
		}
		Expect(ended.Sub(last)).To(BeNumerically("<", 30*time.Second))
		report("ten logins", ended.Sub(began).Round(time.Second).String())
	}, NodeTimeout(6*time.Minute))

	It("goes on in one session while the line becomes a satellite's and back (R26)", func(ctx SpecContext) {
		session := w.hold(ctx, 16*time.Second)
		Expect(w.desk.Link("wan").Impair(ctx, labtest.Impairment{Preset: "satellite"})).To(Succeed())
		Consistently(session).Within(6 * time.Second).ShouldNot(Receive())
		Expect(w.desk.Link("wan").Reset(ctx)).To(Succeed())
		var s *rustdesk.Session
		Eventually(ctx, session).Within(time.Minute).Should(Receive(&s))
		Expect(s).To(And(HaveField("Error", ""), HaveField("Held", "to the end")))
	}, NodeTimeout(3*time.Minute))
}

// hold opens a session that stays open so long, and returns when it is.
func (w *world) hold(ctx context.Context, d time.Duration) <-chan *rustdesk.Session {
	GinkgoHelper()
	session := make(chan *rustdesk.Session, 1)
	go func() {
		defer GinkgoRecover()
		session <- w.connect(ctx, rustdesk.Connection{Delays: 1, Hold: d})
	}()
	// A session's connection is the one to another port than the server's.
	client := w.client.Links()[0]
	Eventually(ctx, w.desk.Shell).WithArguments(
		"ss -Htn state established | grep -F ' " + w.client.Addr(networkOf(client)).String() + ":'").
		Within(30 * time.Second).ProbeEvery(500 * time.Millisecond).Should(ExitWith(0))
	return session
}

// networkOf is the network of a link, whose name is NODE@NETWORK.
func networkOf(l *labtest.Link) string {
	_, network, _ := strings.Cut(l.Name(), "@")
	return network
}

func partitionSpecs(w *world) {
	cut := func(ctx context.Context) time.Time {
		GinkgoHelper()
		Expect(w.lab.Partition(ctx, []string{"desk"}, []string{"client", "server"})).To(Succeed())
		return time.Now()
	}

	It("outlives a cut of 20 s, registered under the same id (R26)", func(ctx SpecContext) {
		session := w.hold(ctx, 35*time.Second)
		began := cut(ctx)
		Eventually(ctx, func() time.Duration { return time.Since(began) }).Within(time.Minute).Should(BeNumerically(">", 20*time.Second))
		Expect(w.lab.Heal(ctx)).To(Succeed())
		healed := clock(ctx, w.server)
		Eventually(ctx, w.listed).WithContext(ctx).Within(10 * time.Second).ProbeEvery(500 * time.Millisecond).Should(BeTrue())
		Eventually(ctx, func() any { return w.since(ctx, healed, "RegisterPeer") }).Within(15 * time.Second).ProbeEvery(time.Second).
			Should(ContainElement(HaveField("ID", w.id)))
		Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(BeEmpty())
		var s *rustdesk.Session
		Eventually(ctx, session).Within(time.Minute).Should(Receive(&s))
		report("the session over a cut of 20 s", s.Held)
		Expect(w.host.ID(ctx)).To(Equal(w.id))
	}, NodeTimeout(3*time.Minute))

	It("is offline 30 s into a cut of 45 s and not before, its session ended, and back within 10 s (C22, C36, C37)", func(ctx SpecContext) {
		session := w.hold(ctx, 2*time.Minute)
		began := cut(ctx)
		heard := w.since(ctx, time.Time{}, "RegisterPeer", "RegisterPk")
		last := heard[len(heard)-1].Time
		offline := w.untilOffline(ctx, last)
		Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(ContainSubstring("Remote desktop is offline"))
		Eventually(ctx, func() time.Duration { return time.Since(began) }).Within(time.Minute).Should(BeNumerically(">", 45*time.Second))
		var s *rustdesk.Session
		Expect(session).To(Receive(&s))
		report("a cut of 45 s", "offline "+offline.Round(100*time.Millisecond).String()+" after its last word; the session: "+s.Held)
		Expect(s.Held).NotTo(Equal("to the end"))
		Expect(w.lab.Heal(ctx)).To(Succeed())
		healed := time.Now()
		Eventually(ctx, w.listed).WithContext(ctx).Within(10 * time.Second).ProbeEvery(300 * time.Millisecond).Should(BeTrue())
		report("listed again", time.Since(healed).Round(100*time.Millisecond).String()+" after healing")
		Expect(w.host.ID(ctx)).To(Equal(w.id))
		Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(BeEmpty())
	}, NodeTimeout(4*time.Minute))
}

// untilOffline waits until the server lists the host as offline, and checks that this is 30 s after its last word.
func (w *world) untilOffline(ctx context.Context, last time.Time) time.Duration {
	GinkgoHelper()
	var on, off time.Time
	Eventually(func(g Gomega) {
		asked := clock(ctx, w.server)
		listed, err := w.listed(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		if listed {
			on = asked
		}
		off = clock(ctx, w.server)
		g.Expect(listed).To(BeFalse())
	}).Within(45 * time.Second).ProbeEvery(500 * time.Millisecond).Should(Succeed())
	if !on.IsZero() {
		Expect(on.Sub(last)).To(BeNumerically("<", 30*time.Second), "it is online until then")
	}
	Expect(off.Sub(last)).To(BeNumerically(">=", 30*time.Second))
	return off.Sub(last)
}
