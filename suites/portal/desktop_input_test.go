package portal_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/portal/probe"
)

// takesInput are the specs of what arrives. They have one session, which ends with them.
func (k *kde) takesInput() {
	var stream uint32

	BeforeAll(func(ctx SpecContext) {
		stream = k.session(ctx, "s")
		DeferCleanup(func(ctx SpecContext) { k.do(ctx, probe.Reset()) })
	}, NodeTimeout(2*time.Minute))

	It("moves the pointer by what is asked (C25, P62)", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s",
			probe.MotionAbsolute(stream, 640, 400), probe.Motion(10, 5), probe.Motion(-3, -7), probe.Motion(0, 1), probe.Motion(-100, 0),
		)).To(Equal([]string{"motion 640,400", "motion 650,405", "motion 647,398", "motion 647,399", "motion 547,399"}))
	}, NodeTimeout(2*time.Minute))

	It("puts the pointer at a place of the stream, to its corners (C26)", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s",
			probe.MotionAbsolute(stream, 300, 200), probe.MotionAbsolute(stream, 0, 0), probe.MotionAbsolute(stream, 1279, 799),
			probe.MotionAbsolute(stream, 1279, 0), probe.MotionAbsolute(stream, 20, 30),
		)).To(Equal([]string{"motion 300,200", "motion 0,0", "motion 1279,799", "motion 1279,0", "motion 20,30"}))
	}, NodeTimeout(2*time.Minute))

	It("refuses a place outside of the stream (C26)", func(ctx SpecContext) {
		k.refused(ctx, "s", "Invalid position",
			probe.Notify("s", probe.MotionAbsolute(stream, 1280, 10)), probe.Notify("s", probe.MotionAbsolute(stream, 10, 800)),
			probe.Notify("s", probe.MotionAbsolute(stream, -1, 10)), probe.Notify("s", probe.MotionAbsolute(stream, 1e9, 1e9)))
	}, NodeTimeout(2*time.Minute))

	It("presses and releases buttons, in order (C25, P62)", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s",
			probe.Button(272, 1), probe.Button(273, 1), probe.Button(273, 0), probe.Button(272, 0), probe.Button(274, 1), probe.Button(274, 0),
		)).To(Equal([]string{
			"button 272 pressed", "button 273 pressed", "button 273 released", "button 272 released", "button 274 pressed", "button 274 released",
		}))
	}, NodeTimeout(2*time.Minute))

	It("scrolls smoothly (C25, P62); known of KDE 5.27: the vertical way is turned round", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s", probe.Axis(0, 15), probe.Axis(7.5, 0), probe.Axis(0, -2.25), probe.Axis(-1, 0))).To(Equal([]string{
			"axis vertical by -15", "axis horizontal by 7.5", "axis vertical by 2.25", "axis horizontal by -1",
		}))
	}, NodeTimeout(2*time.Minute))

	It("scrolls by steps (C27); known of KDE 5.27: a step arrives as one unit, and is not told to be a step", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s", probe.AxisDiscrete(0, 2), probe.AxisDiscrete(1, -1))).To(Equal([]string{
			"axis vertical by 2", "axis horizontal by -1",
		}))
	}, NodeTimeout(2*time.Minute))

	It("presses keys by keycode, with what they mean (C25, P62)", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s",
			probe.Keycode(30, 1), probe.Keycode(30, 0), probe.Keycode(42, 1), probe.Keycode(48, 1), probe.Keycode(48, 0), probe.Keycode(42, 0),
			probe.Keycode(28, 1), probe.Keycode(28, 0),
		)).To(Equal([]string{
			"key 30 a pressed", "key 30 a released", "key 42 Shift_L pressed", "key 48 B pressed", "key 48 B released", "key 42 Shift_L released",
			"key 28 Return pressed", "key 28 Return released",
		}))
	}, NodeTimeout(2*time.Minute))

	It("presses keys by keysym, with the Shift that they need (C25, P62)", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s",
			probe.Keysym('b', 1), probe.Keysym('b', 0), probe.Keysym('B', 1), probe.Keysym('B', 0), probe.Keysym(0xff1b, 1), probe.Keysym(0xff1b, 0),
		)).To(Equal([]string{
			"key 48 b pressed", "key 48 b released",
			"key 42 Shift_L pressed", "key 48 B pressed", "key 42 Shift_L released", "key 48 b released",
			"key 1 Escape pressed", "key 1 Escape released",
		}))
	}, NodeTimeout(2*time.Minute))

	It("keeps the order of pointer and keyboard (C25)", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s",
			probe.MotionAbsolute(stream, 50, 50), probe.Keycode(29, 1), probe.Button(272, 1), probe.Motion(1, 1), probe.Button(272, 0), probe.Keycode(29, 0),
		)).To(Equal([]string{
			"motion 50,50", "key 29 Control_L pressed", "button 272 pressed", "motion 51,51", "button 272 released", "key 29 Control_L released",
		}))
	}, NodeTimeout(2*time.Minute))

	It("loses touch (C27); known of KDE 5.27: its methods for touch have other types than the interface", func(ctx SpecContext) {
		Expect(k.sees(ctx, "s", probe.TouchDown(stream, 0, 50, 60), probe.TouchMotion(stream, 0, 55, 66), probe.TouchUp(0))).To(BeEmpty())
		handle := k.do(ctx, probe.Notify("s", probe.TouchUp(0)))[0].Handle
		reply := k.do(ctx, probe.NotifyBackend(kdeBackend, handle, probe.TouchDown(stream, 0, 50, 60)))[0]
		Expect(reply.Error).To(And(HaveOccurred(), MatchError(ContainSubstring("No such method 'NotifyTouchDown'"))))
	}, NodeTimeout(2*time.Minute))
}

// kdeBackend is the name of KDE's backend on the bus.
const kdeBackend = "org.freedesktop.impl.portal.desktop.kde"
