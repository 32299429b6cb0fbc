package portal_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// The frontend's place on the session bus; source: the XDG desktop portal's D-Bus documentation.
const (
	frontend      = "org.freedesktop.portal.Desktop"
	portalPath    = "/org/freedesktop/portal/desktop"
	remoteDesktop = "org.freedesktop.portal.RemoteDesktop"
)

// inSession runs a program in the desk's login session.
func inSession(argv ...string) labtest.Cmd {
	return labtest.Cmd{Argv: argv, Session: true, Timeout: time.Minute}
}

var _ = Describe("xdg-desktop-portal of Debian, in a login session", Ordered, ContinueOnFailure, Label("vm", "discovery"), func() {
	var desk *labtest.Node

	BeforeAll(func(ctx SpecContext) {
		desk = labtest.Start(ctx, "../../topologies/portal.yaml").Node("desk")
	}, NodeTimeout(30*time.Minute))

	It("has a session with a bus of its own", func(ctx SpecContext) {
		res, err := desk.Run(ctx, labtest.Cmd{Shell: `id -un; printf '%s\n' "$XDG_RUNTIME_DIR" "$DBUS_SESSION_BUS_ADDRESS"`, Session: true})
		Expect(err).NotTo(HaveOccurred())
		Expect(res).To(OutputMatching(`^desk\n/run/user/(\d+)\nunix:path=/run/user/\d+/bus\n$`))
		Expect(desk.Run(ctx, inSession("busctl", "--user", "--no-pager", "status", "org.freedesktop.DBus"))).To(ExitWith(0))
	}, NodeTimeout(3*time.Minute))

	It("answers for RemoteDesktop version 1 on the session bus (P05)", func(ctx SpecContext) {
		// bookworm has xdg-desktop-portal 1.16, whose RemoteDesktop interface is version 1.
		Eventually(ctx, desk.Run).WithArguments(inSession("busctl", "--user", "get-property", frontend, portalPath, remoteDesktop, "version")).
			Within(2 * time.Minute).ProbeEvery(time.Second).Should(And(ExitWith(0), OutputMatching(`^u 1\n$`)))
	}, NodeTimeout(4*time.Minute))

	It("offers the nine methods of the interface (P04, P07)", func(ctx SpecContext) {
		res, err := desk.Run(ctx, inSession("busctl", "--user", "--no-pager", "introspect", frontend, portalPath, remoteDesktop))
		Expect(err).NotTo(HaveOccurred())
		Expect(res).To(ExitWith(0))
		for _, method := range []string{
			`CreateSession +method +a\{sv\} +o`,
			`SelectDevices +method +oa\{sv\} +o`,
			`Start +method +osa\{sv\} +o`,
			`NotifyPointerMotion +method +oa\{sv\}dd`,
			`NotifyPointerMotionAbsolute +method +oa\{sv\}udd`,
			`NotifyPointerButton +method +oa\{sv\}iu`,
			`NotifyPointerAxis +method +oa\{sv\}dd`,
			`NotifyKeyboardKeycode +method +oa\{sv\}iu`,
			`NotifyKeyboardKeysym +method +oa\{sv\}iu`,
		} {
			Expect(res).To(OutputMatching(`(?m)^\.` + method))
		}
	}, NodeTimeout(2*time.Minute))

	It("refuses a session that nobody made, for another user too", func(ctx SpecContext) {
		bad := portalPath + "/session/nobody/made"
		Expect(desk.Run(ctx, inSession("busctl", "--user", "call", frontend, portalPath, remoteDesktop,
			"NotifyPointerMotion", "oa{sv}dd", bad, "0", "--", "1", "1"))).
			To(And(ExitWith(1), ErrorOutputContaining("Access denied")))
		Expect(desk.Shell(ctx, `useradd -m other && runuser -u other -- busctl --address=unix:path=/run/user/$(id -u desk)/bus call `+
			frontend+" "+portalPath+" org.freedesktop.DBus.Peer Ping")).
			To(And(Not(ExitWith(0)), ErrorOutputContaining("Permission denied")))
	}, NodeTimeout(2*time.Minute))
})
