package portal_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/portal/probe"
)

// keepsSessions are the specs of who may do what, and when.
func (k *kde) keepsSessions() {
	k.resets()

	const all = probe.Keyboard | probe.Pointer | probe.Touchscreen

	It("grants the devices that are asked for, and no others (C13, C15, C18)", func(ctx SpecContext) {
		for _, types := range []uint32{probe.Keyboard, probe.Pointer, probe.Keyboard | probe.Pointer, all} {
			name := fmt.Sprint("devices", types)
			replies := k.all(ctx, probe.Create(name), probe.Select(name, types), probe.Start(name), probe.Close(name))
			Expect(replies[0].Handle).To(MatchRegexp(`^/org/freedesktop/portal/desktop/session/\d+_\d+/\w+$`))
			Expect(replies[2].Granted()).To(Equal(types), "the devices of Start")
			Expect(replies[2].Streams()).To(BeEmpty(), "streams, of which none was asked for")
		}
	}, NodeTimeout(2*time.Minute))

	It("lets nothing through before Start (C22)", func(ctx SpecContext) {
		k.all(ctx, probe.Create("early"), probe.Select("early", all), probe.Create("s"), probe.Select("s", all), probe.Start("s"))
		k.refused(ctx, "s", "access to a device of type",
			probe.Notify("early", probe.Motion(5, 5)), probe.Notify("early", probe.Button(272, 1)), probe.Notify("early", probe.Keycode(30, 1)),
			probe.Notify("early", probe.Keysym('b', 1)), probe.Notify("early", probe.Axis(0, 1)))
	}, NodeTimeout(2*time.Minute))

	It("lets no device through that was not granted (C23)", func(ctx SpecContext) {
		k.all(ctx, probe.Create("keys"), probe.Select("keys", probe.Keyboard), probe.Start("keys"))
		k.all(ctx, probe.Create("s"), probe.Select("s", probe.Pointer), probe.Start("s"))
		k.refused(ctx, "s", "access to a device of type",
			probe.Notify("keys", probe.Motion(5, 5)), probe.Notify("keys", probe.Button(272, 1)), probe.Notify("keys", probe.Axis(0, 1)),
			probe.Notify("s", probe.Keycode(30, 1)), probe.Notify("s", probe.Keysym('b', 1)))
		Expect(k.seen(ctx, "s", func() {
			k.all(ctx, probe.Notify("keys", probe.Keycode(30, 1)), probe.Notify("keys", probe.Keycode(30, 0)))
		})).
			To(Equal([]string{"key 30 a pressed", "key 30 a released"}), "what was granted")
	}, NodeTimeout(2*time.Minute))

	It("lets no other client of the bus use a session (C31)", func(ctx SpecContext) {
		k.all(ctx, probe.Create("s"), probe.Select("s", all), probe.Start("s"))
		k.refused(ctx, "s", "Invalid session",
			probe.From("other", probe.Notify("s", probe.Motion(5, 5))), probe.From("other", probe.Notify("s", probe.Keycode(30, 1))),
			probe.From("other", probe.Notify("s", probe.Button(272, 1))))
	}, NodeTimeout(2*time.Minute))

	It("ends with Close (C28)", func(ctx SpecContext) {
		k.all(ctx, probe.Create("gone"), probe.Select("gone", all), probe.Start("gone"))
		k.all(ctx, probe.Create("s"), probe.Select("s", all), probe.Start("s"), probe.Close("gone"))
		k.refused(ctx, "s", "Invalid session", probe.Notify("gone", probe.Motion(5, 5)), probe.Notify("gone", probe.Keycode(30, 1)))
	}, NodeTimeout(2*time.Minute))
}
