package portal_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/desktop"
	"ionlab/fixtures/portal"
	"ionlab/fixtures/portal/checks"
	"ionlab/fixtures/portal/probe"
	"ionlab/labtest"
)

const desktopTopology = "../../topologies/portal-desktop.yaml"

// One desktop is for all of these specs. Those that kill parts of it come last.
var _ = Describe("KDE's portal", Ordered, ContinueOnFailure, Label("vm", "desktop"), func() {
	k := new(kde)

	BeforeAll(func(ctx SpecContext) { k.start(ctx) }, NodeTimeout(30*time.Minute))

	AfterEach(func(ctx SpecContext) {
		// The probe is there already, where a command of its own takes a second to begin without KVM.
		reply := k.do(ctx, probe.Run(append([]string{"systemctl", "--user", "is-active"}, k.desk.Services()...)...))[0]
		if reply.Exec == nil || reply.Exec.Code != 0 {
			Expect(k.desk.Check(ctx)).To(Succeed(), "the desktop after the spec")
		}
	}, NodeTimeout(2*time.Minute))

	Describe("as a Wayland client under KWin sees it", func() { k.takesInput() })
	Describe("its sessions", func() { k.keepsSessions() })
	Describe("what every backend is asked", func() { k.isChecked() })
	Describe("its streams", func() { k.streams() })
})

// kde is KDE's portal under KWin, with a probe before it and a witness behind it.
type kde struct {
	node    *labtest.Node
	desk    *desktop.Desktop
	witness *desktop.Witness
	probe   *portal.Probe
	checked *checks.Desk
}

// start starts it on a machine of its own, in a BeforeAll.
func (k *kde) start(ctx context.Context) {
	GinkgoHelper()
	watched := labtest.Setup{
		Do: func(ctx context.Context, l *labtest.Lab) error {
			desktop.Start(ctx, l.Node("desk")).Watch(ctx)
			return nil
		},
		Files: []string{"../../fixtures/desktop"},
	}
	k.node = labtest.Start(ctx, desktopTopology, labtest.WithSetup(watched)).Node("desk")
	k.desk = desktop.On(k.node)
	var err error
	k.witness, err = k.desk.Witness(ctx)
	Expect(err).NotTo(HaveOccurred())
	k.probe, err = kit.Probe(ctx, k.node)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(k.probe.Close)
}

// resets ends all sessions after each spec of a container.
func (k *kde) resets() {
	AfterEach(func(ctx SpecContext) { k.do(ctx, probe.Reset()) }, NodeTimeout(time.Minute))
}

// do does steps, whatever comes of them.
func (k *kde) do(ctx context.Context, steps ...probe.Step) []probe.Reply {
	GinkgoHelper()
	replies, err := k.probe.Do(ctx, steps...)
	Expect(err).NotTo(HaveOccurred())
	return replies
}

// all does steps of which none may be refused.
func (k *kde) all(ctx context.Context, steps ...probe.Step) []probe.Reply {
	GinkgoHelper()
	replies := k.do(ctx, steps...)
	for i, reply := range replies {
		Expect(reply.OK()).To(BeTrue(), "step %d of %d was refused: %s", i+1, len(replies), reply)
	}
	return replies
}

// sources asks for a monitor in a session of the interface RemoteDesktop.
func sources(session string) probe.Step {
	return probe.Request(session, probe.ScreenCast+".SelectSources", map[string]probe.Arg{
		"types": probe.U(1), "multiple": probe.B(false), "cursor_mode": probe.U(2),
	})
}

// session makes and starts a session with all devices and the output's stream, whose number it returns.
func (k *kde) session(ctx context.Context, name string) uint32 {
	GinkgoHelper()
	replies := k.all(ctx, probe.Create(name), probe.Select(name, probe.Keyboard|probe.Pointer|probe.Touchscreen), sources(name), probe.Start(name))
	Expect(replies[3].Streams()).To(HaveLen(1))
	return replies[3].Streams()[0]
}

// fence is a button that nothing else uses: where its release arrives, all that was sent before it has.
const fence = 279 // BTN_TASK of linux/input-event-codes.h

// seen is what the witness sees of the steps that send does: all until the fence, which goes through the session.
func (k *kde) seen(ctx context.Context, session string, send func()) []string {
	GinkgoHelper()
	Expect(k.witness.Reset(ctx)).To(Succeed())
	send()
	k.all(ctx, probe.Notify(session, probe.Button(fence, 1)), probe.Notify(session, probe.Button(fence, 0)))
	down, up := desktop.Event{Kind: desktop.Button, Code: fence, Pressed: true}, desktop.Event{Kind: desktop.Button, Code: fence}
	var events desktop.Events
	Eventually(ctx, func(ctx context.Context) (desktop.Events, error) {
		var err error
		events, err = k.witness.Events(ctx)
		return events, err
	}).Within(20 * time.Second).ProbeEvery(100 * time.Millisecond).Should(ContainElement(up))
	n := len(events)
	Expect(events[n-2:]).To(Equal(desktop.Events{down, up}), "the fence comes last")
	return events[:n-2].Strings()
}

// sees is seen of events that are all to be accepted.
func (k *kde) sees(ctx context.Context, session string, events ...probe.Event) []string {
	GinkgoHelper()
	return k.seen(ctx, session, func() {
		GinkgoHelper()
		steps := make([]probe.Step, 0, len(events))
		for _, e := range events {
			steps = append(steps, probe.Notify(session, e))
		}
		k.all(ctx, steps...)
	})
}

// refused sends events that the frontend has to refuse with such a text, and asserts that the witness sees none of them.
func (k *kde) refused(ctx context.Context, session, text string, steps ...probe.Step) {
	GinkgoHelper()
	Expect(k.seen(ctx, session, func() {
		GinkgoHelper()
		for i, reply := range k.do(ctx, steps...) {
			Expect(reply.Error).To(And(HaveOccurred(), MatchError(ContainSubstring(text))), "step %d", i+1)
		}
	})).To(BeEmpty(), "what arrived although it was refused")
}
