package rustdesk_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/fixtures/rustdesk/probe"
	"ionlab/fixtures/rustdesk/standin"
	. "ionlab/matchers"
)

// sessionFaultSpecs show that the checks of sessions fail when they should.
func sessionFaultSpecs(w *world) {
	Describe("with a fault, is found out:", Ordered, func() {
		AfterAll(func(ctx SpecContext) {
			Expect(w.host.SetFaults(ctx)).To(Succeed())
			Expect(w.host.SetOption(ctx, "custom-rendezvous-server", w.to.Server)).To(Succeed())
			w.online(ctx)
		}, NodeTimeout(3*time.Minute))

		faulty := func(faults ...standin.Fault) func(SpecContext) {
			return func(ctx SpecContext) {
				Expect(w.host.SetFaults(ctx, faults...)).To(Succeed())
				w.online(ctx)
			}
		}

		Describe("in an answer and in a forward:", Ordered, func() {
			BeforeAll(faulty(standin.FaultWrongPong, standin.FaultBadForward), NodeTimeout(3*time.Minute))

			It("another id on the LAN", func(ctx SpecContext) {
				Expect(w.probe.Discover(ctx, w.desk.Addr("lan").String())).NotTo(HaveField("ID", w.id))
			}, NodeTimeout(3*time.Minute))

			It("a byte that a port forward changes", func(ctx SpecContext) {
				Expect(w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: 1000}).Echo).To(HaveField("Exact", false))
			}, NodeTimeout(3*time.Minute))
		})

		It("a SignedId of another key (C32)", func(ctx SpecContext) {
			faulty(standin.FaultForgedKey)(ctx)
			s := w.connect(ctx, rustdesk.Connection{List: "/"})
			Expect(s.Error).NotTo(BeEmpty())
			Expect(s.Files).To(BeEmpty())
			report("what the probe says of a forged SignedId", s.Error)
			Expect(s.Error).To(ContainSubstring("the signature is not by the expected key"))
		}, NodeTimeout(3*time.Minute))

		It("a server that is not there", func(ctx SpecContext) {
			Expect(w.host.SetFaults(ctx)).To(Succeed())
			Expect(w.host.SetOption(ctx, "custom-rendezvous-server", "10.21.0.99")).To(Succeed())
			// The host looks at its options once a second.
			Eventually(ctx, w.host.Status).WithContext(ctx).Within(30 * time.Second).ProbeEvery(time.Second).
				Should(HaveField("LatencyUS", BeNumerically("<=", 0)))
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			Expect(w.host.WaitOnline(short)).To(MatchError(ContainSubstring("it is not registered")))
			Expect(w.host.SetOption(ctx, "custom-rendezvous-server", w.to.Server)).To(Succeed())
		}, NodeTimeout(3*time.Minute))
	})
}

func recoverySpecs(w *world) {
	It("ends its session when it is rebooted, and is back by itself with the same id (C13)", func(ctx SpecContext) {
		session := w.hold(ctx, 3*time.Minute)
		// Its login and its first measurement come after the connection.
		Consistently(session).WithContext(ctx).Within(5 * time.Second).ShouldNot(Receive())
		Expect(w.desk.Reboot(ctx)).To(Succeed())
		var s *rustdesk.Session
		Eventually(ctx, session).Within(time.Minute).Should(Receive(&s))
		report("the session that a reboot ended", s.Held)
		Expect(s.Held).NotTo(BeElementOf("", "to the end"))
		w.online(ctx)
		Expect(w.host.ID(ctx)).To(Equal(w.id))
		Expect(w.host.ServeEcho(ctx)).To(Succeed())
		Expect(w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: 1000}).Error).To(BeEmpty())
	}, NodeTimeout(8*time.Minute))

	It("is unknown under another id (C22)", func(ctx SpecContext) {
		Expect(w.connect(ctx, rustdesk.Connection{ID: "100000009"}).Error).To(ContainSubstring("ID does not exist"))
	}, NodeTimeout(3*time.Minute))

	It("is back within 40 s when the server restarts, in the same row, and goes by the relay if told so (C27, C38, R14, R22)", func(ctx SpecContext) {
		before, err := w.hbbs.Peers(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(w.hbbs.Restart(ctx, rustdesk.ServerOptions{AlwaysRelay: true})).To(Succeed())
		began := clock(ctx, w.server)
		Eventually(ctx, w.listed).WithContext(ctx).Within(40 * time.Second).ProbeEvery(500 * time.Millisecond).Should(BeTrue())
		report("listed again", clock(ctx, w.server).Sub(began).Round(100*time.Millisecond).String()+" after the server's restart")
		Expect(w.hbbs.Peers(ctx)).To(Equal(before))
		Expect(w.host.ID(ctx)).To(Equal(w.id))

		s := w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: mebibyte})
		Expect(s).To(And(HaveField("Error", ""), HaveField("Path", probe.PathRelay), HaveField("Echo.Exact", true)))
		reportSession("relay", s)
		Eventually(ctx, func() any { return w.since(ctx, began, "relay-closed") }).Within(10 * time.Second).
			Should(ContainElement(HaveField("Bytes", BeNumerically(">=", 2*mebibyte))))
	}, NodeTimeout(5*time.Minute))

	It("says so within 30 s when there is no relay, and stays registered (C28)", func(ctx SpecContext) {
		Expect(w.hbbs.Stop(ctx, rustdesk.Relay)).To(Succeed())
		began := time.Now()
		s := w.connect(ctx, rustdesk.Connection{ForceRelay: true})
		report("without a relay", s.Error)
		Expect(s.Error).To(ContainSubstring("Failed to connect via relay server"))
		Expect(time.Since(began)).To(BeNumerically("<", 30*time.Second))
		Expect(w.listed(ctx)).To(BeTrue())
		Expect(w.desk.Exec(ctx, "systemctl", "is-active", "rustdesk")).To(OutputMatching(`^active\n$`))
		Expect(w.hbbs.Start(ctx, rustdesk.Relay)).To(Succeed())
	}, NodeTimeout(3*time.Minute))
}
