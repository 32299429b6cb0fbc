package portal_test

import (
	"context"
	"fmt"
	"regexp"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/desktop"
	"ionlab/fixtures/portal/probe"
)

// streams are the specs that open streams, and the one that kills a part of the desktop.
func (k *kde) streams() {
	k.resets()

	It("gives a session a stream, a remote of PipeWire and a node in it (C36, P63)", func(ctx SpecContext) {
		stream := k.session(ctx, "s")
		Expect(k.casts(ctx)).To(ContainElement(stream), "PipeWire's nodes of KWin")
		reply := k.all(ctx, probe.RunWithRemote("s", probe.Exec{Argv: []string{"test", "-S", "/proc/self/fd/3"}}))[0]
		Expect(reply.Exec.Code).To(BeZero(), "whether the remote is a socket: %s", reply)
	}, NodeTimeout(3*time.Minute))

	It("delivers pictures (P63); known of KWin 5.27 on a virtual output: there is nothing in them", func(ctx SpecContext) {
		stream := k.session(ctx, "s")
		frame := k.frame(ctx, "s", stream)
		Expect(frame.Colours()).To(Equal(map[int]int{0: 1280 * 800}), "%s; with other colours in it KWin has learnt it, and this spec can say so", frame.GomegaString())
	}, NodeTimeout(3*time.Minute))

	It("does what RustDesk asks for without its service (C37)", func(ctx SpecContext) {
		replies := k.all(ctx,
			probe.Request("r", probe.RemoteDesktop+".CreateSession", token("u1", map[string]probe.Arg{"session_handle_token": probe.S("u1")})),
			probe.SelectWith("r", token("u2", map[string]probe.Arg{"types": probe.U(7)})),
			probe.Request("r", probe.ScreenCast+".SelectSources", token("u3", map[string]probe.Arg{
				"types": probe.U(1), "multiple": probe.B(true), "cursor_mode": probe.U(2),
			})),
			probe.Request("r", probe.RemoteDesktop+".Start", token("u4", nil), probe.S("")),
		)
		Expect(replies[0].Handle).To(HaveSuffix("/u1"))
		Expect(replies[3].Granted()).To(Equal(uint32(7)))
		Expect(replies[3].Streams()).To(HaveLen(1))
		reply := k.all(ctx, probe.RunWithRemote("r", probe.Exec{Argv: []string{"test", "-S", "/proc/self/fd/3"}}))[0]
		Expect(reply.Exec.Code).To(BeZero(), "whether the remote is a socket: %s", reply)
		Expect(k.sees(ctx, "r", probe.MotionAbsolute(replies[3].Streams()[0], 100, 100), probe.Keysym('b', 1), probe.Keysym('b', 0))).
			To(Equal([]string{"motion 100,100", "key 48 b pressed", "key 48 b released"}))
	}, NodeTimeout(3*time.Minute))

	It("does what RustDesk asks for with its service, to the question for consent (C37)", func(ctx SpecContext) {
		replies := k.do(ctx,
			probe.Get(probe.Frontend, probe.DesktopPath, probe.ScreenCast, "version"),
			probe.Request("r", probe.ScreenCast+".CreateSession", token("u1", map[string]probe.Arg{"session_handle_token": probe.S("u1")})),
			probe.Request("r", probe.ScreenCast+".SelectSources", token("u3", map[string]probe.Arg{
				"types": probe.U(1), "multiple": probe.B(true), "cursor_mode": probe.U(2), "persist_mode": probe.U(2),
			})),
			probe.Request("r", probe.ScreenCast+".Start", token("u4", nil), probe.S("")),
			probe.Call(probe.Frontend, probe.DesktopPath, probe.ScreenCast+".OpenPipeWireRemote", probe.O("/no/session"), probe.Dict(nil)),
		)
		Expect(replies[0].Values).To(Equal([]probe.Value{{Type: "u", Text: "4"}}), "the version, from 4 on persist_mode counts")
		Expect(replies[1].OK()).To(BeTrue(), "CreateSession: %s", replies[1])
		Expect(replies[2].OK()).To(BeTrue(), "SelectSources: %s", replies[2])
		// KDE asks which screen; its dialog is written in QML of plasma-workspace, which the image does not have, and counts as cancelled.
		Expect(replies[3].Response).To(Equal(1), "Start: %s", replies[3])
		Expect(replies[4].Error).To(MatchError(ContainSubstring("Invalid session")))
	}, NodeTimeout(3*time.Minute))

	It("lets a stream end with its session (C28); known of KDE 5.27: it goes on", func(ctx SpecContext) {
		stream := k.session(ctx, "s")
		k.all(ctx, probe.Close("s"))
		Consistently(ctx, k.casts).Within(3*time.Second).ProbeEvery(500*time.Millisecond).Should(ContainElement(stream),
			"PipeWire's nodes of KWin; without it KDE has learnt it, and this spec can say so")
	}, NodeTimeout(3*time.Minute))

	It("is started again after a kill, and serves (C35)", func(ctx SpecContext) {
		k.session(ctx, "s")
		Expect(k.desk.KillBackend(ctx)).To(Succeed())
		began := time.Now()
		k.session(ctx, "again")
		Expect(time.Since(began)).To(BeNumerically("<", 20*time.Second))
		Expect(k.sees(ctx, "again", probe.Keycode(30, 1), probe.Keycode(30, 0))).To(Equal([]string{"key 30 a pressed", "key 30 a released"}))
	}, NodeTimeout(3*time.Minute))
}

// token are options of a request with a token of the spec's own.
func token(handle string, more map[string]probe.Arg) map[string]probe.Arg {
	options := map[string]probe.Arg{"handle_token": probe.S(handle)}
	for key, arg := range more {
		options[key] = arg
	}
	return options
}

// record runs GStreamer on the PipeWire remote, until one picture has come, or for 15 s.
func record(stream uint32, sink ...string) probe.Exec {
	argv := []string{
		"timeout", "15", "gst-launch-1.0", "--verbose", "pipewiresrc", "fd=3", fmt.Sprintf("path=%d", stream), "num-buffers=1", "!",
		"videoconvert", "!", "video/x-raw,format=RGB", "!",
	}
	return probe.Exec{Argv: append(argv, sink...), Within: 20 * time.Second}
}

// frame takes a picture of a stream while the pointer moves, as KWin sends none where nothing changes.
func (k *kde) frame(ctx context.Context, session string, stream uint32) *desktop.Frame {
	GinkgoHelper()
	const file = "/tmp/frame.rgb"
	var moves []probe.Step
	for i := range 50 {
		moves = append(moves, probe.Pause(100*time.Millisecond), probe.Notify(session, probe.MotionAbsolute(stream, float64(100+10*i), 300)))
	}
	replies := k.all(ctx, probe.Parallel([]probe.Step{probe.RunWithRemote(session, record(stream, "filesink", "location="+file))}, moves))
	recorded := replies[0].Parallel[0][0]
	Expect(recorded.Exec).NotTo(BeNil(), "%s", recorded)
	Expect(recorded.Exec.Code).To(BeZero(), "%s", recorded)
	Expect(recorded.Exec.Stdout).To(ContainSubstring("caps = video/x-raw, format=(string)BGRA, width=(int)1280, height=(int)800"))
	data, err := k.node.ReadFile(ctx, file)
	Expect(err).NotTo(HaveOccurred())
	frame, err := desktop.ReadFrame(data, 1280, 800)
	Expect(err).NotTo(HaveOccurred())
	return frame
}

// castNode finds the nodes of KWin in what pw-cli prints.
var castNode = regexp.MustCompile(`(?s)id (\d+), type PipeWire:Interface:Node/3\n(?:[^\n]*=[^\n]*\n)*?[^\n]*node\.name = "kwin_wayland"\n[^\n]*media\.class = "Stream/Output/Video"`)

// casts are the ids of KWin's streams that PipeWire has.
func (k *kde) casts(ctx context.Context) []uint32 {
	GinkgoHelper()
	text := k.all(ctx, probe.Run("pw-cli", "ls", "Node"))[0].Exec.Stdout
	var ids []uint32
	for _, m := range castNode.FindAllStringSubmatch(text, -1) {
		var id uint32
		_, err := fmt.Sscan(m[1], &id)
		Expect(err).NotTo(HaveOccurred())
		ids = append(ids, id)
	}
	return ids
}
