package portal_test

import (
	"os"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/portal"
	"ionlab/fixtures/portal/checks"
	"ionlab/fixtures/portal/probe"
	"ionlab/labtest"
	. "ionlab/matchers"
)

// lifecycle is what a client does, and what must work after everything that can happen to a machine.
func lifecycle() []probe.Step {
	return []probe.Step{
		probe.Create("after"), probe.Select("after", probe.Keyboard|probe.Pointer), probe.Start("after"),
		probe.Notify("after", probe.Motion(1, 2)), probe.Close("after"),
	}
}

// fillDisk takes all that is left of the disk, root's reserve too, and shows that there is nothing by one more write. Space is only set
// aside, so it takes no time.
const fillDisk = `mkdir /var/labtest-full && cd /var/labtest-full || exit
for size in 1G 64M 4M 256K 4K; do
	while n=$((n + 1)); fallocate --length "$size" "$n" 2>/dev/null; do :; done
done
logger "to a full disk"
head -c 100000 /dev/zero >more`

func beAllOK() OmegaMatcher {
	return HaveEach(WithTransform(probe.Reply.OK, BeTrue()))
}

var _ = Describe("A machine with a portal", Ordered, ContinueOnFailure, SpecPriority(2), Label("vm"), func() {
	var (
		desk       *labtest.Node
		session    *portal.Session
		deployment portal.Deployment
	)

	BeforeAll(func(ctx SpecContext) {
		var err error
		deployment, err = kit.UnderTest(os.Getenv)
		Expect(err).NotTo(HaveOccurred())
		desk = labtest.Start(ctx, "../../topologies/portal.yaml", labtest.WithSetup(kit.Setup("desk", deployment))).Node("desk")
		session, err = kit.Attach(ctx, desk, deployment)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(20*time.Minute))

	// serves asserts that a client is served, by a backend that the bus has started.
	serves := func(ctx SpecContext) {
		p, err := kit.Probe(ctx, desk)
		Expect(err).NotTo(HaveOccurred())
		Expect(p.Do(ctx, lifecycle()...)).To(beAllOK())
		Expect(p.Close(ctx)).To(Succeed())
	}

	// it is a spec about the backend, whose profile may have it as a known gap by the first of its ids.
	it := func(text, ids, label string, within time.Duration, body func(ctx SpecContext)) {
		key, _, _ := strings.Cut(ids, ", ")
		It(text+" ("+ids+")", Label(label), func(ctx SpecContext) {
			asKnown(deployment.Profile, key, func() { body(ctx) })
		}, NodeTimeout(within))
	}

	It("gives commands its user's session: runtime folder, bus and display", Label("platform"), func(ctx SpecContext) {
		Expect(desk.Run(ctx, labtest.Cmd{Session: true, Shell: `systemd-run --user --unit=display --socket-property="ListenStream=$XDG_RUNTIME_DIR/wayland-7" sleep 1h`})).
			To(ExitWith(0))
		res, err := desk.Run(ctx, labtest.Cmd{Shell: `id -un; printf '%s\n' "$XDG_RUNTIME_DIR" "$DBUS_SESSION_BUS_ADDRESS" "$WAYLAND_DISPLAY"`, Session: true})
		Expect(err).NotTo(HaveOccurred())
		Expect(res).To(OutputMatching(`^desk\n/run/user/(\d+)\nunix:path=/run/user/\d+/bus\nwayland-7\n$`))
		Expect(desk.Run(ctx, labtest.Cmd{Argv: []string{"busctl", "--user", "--no-pager", "status", "org.freedesktop.DBus"}, Session: true})).To(ExitWith(0))
	}, NodeTimeout(time.Minute))

	It("keeps another user away from the session's bus (P24-user)", Label("security"), func(ctx SpecContext) {
		Expect(desk.Shell(ctx, `runuser -u other -- busctl --address=unix:path=/run/user/$(id -u desk)/bus call `+
			probe.Frontend+" "+probe.DesktopPath+" org.freedesktop.DBus.Peer Ping")).
			To(And(Not(ExitWith(0)), ErrorOutputContaining("Permission denied")))
	}, NodeTimeout(time.Minute))

	it("serves again after a reboot", "P58-reboot, C39-reboot", "chaos", 10*time.Minute, func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) {
			var err error
			session, err = kit.Resume(ctx, desk, deployment)
			Expect(err).NotTo(HaveOccurred())
		}, NodeTimeout(2*time.Minute))
		Expect(portal.Activate(ctx, desk, deployment)).To(Succeed())
		Expect(desk.Reboot(ctx)).To(Succeed())
		serves(ctx)
	})

	it("serves a session within 64 MiB of memory", "P57-memory", "chaos", 5*time.Minute, func(ctx SpecContext) {
		Expect(session.Fresh(ctx, checks.Normal)).To(Succeed())
		Expect(desk.Run(ctx, labtest.Cmd{Session: true, Shell: `systemctl --user set-property --runtime portal-backend.service MemoryMax=64M
cat "/sys/fs/cgroup$(systemctl --user show -P ControlGroup portal-backend.service)/memory.max"`})).To(OutputMatching(`^67108864\n$`))
		steps := append(lifecycle()[:3:3], probe.Flood(probe.Burst{Session: "after", Count: 500, InFlight: 50}), probe.Notify("after", probe.Motion(1, 1)))
		pid, err := session.Backend.PID(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(session.Do(ctx, steps...)).To(beAllOK())
		Expect(session.Backend.PID(ctx)).To(Equal(pid), "its process: it was killed for its memory")
	})

	it("serves a session while the disk is full, and its journal with it", "P57-disk", "chaos", 5*time.Minute, func(ctx SpecContext) {
		DeferCleanup(func(ctx SpecContext) { Expect(desk.Exec(ctx, "rm", "-rf", "/var/labtest-full")).To(ExitWith(0)) })
		Expect(desk.Shell(ctx, fillDisk)).To(And(Not(ExitWith(0)), ErrorOutputContaining("No space left on device")))
		Expect(session.Fresh(ctx, checks.Normal)).To(Succeed())
		Expect(session.Do(ctx, lifecycle()...)).To(beAllOK())
		Expect(session.Do(ctx, lifecycle()...)).To(beAllOK())
	})

	it("serves a session on when the clock jumps an hour, there and back", "P57-clock", "chaos", 5*time.Minute, func(ctx SpecContext) {
		Expect(session.Fresh(ctx, checks.Normal)).To(Succeed())
		Expect(session.Do(ctx, lifecycle()[:3]...)).To(beAllOK())
		for _, jump := range []string{"+1 hour", "-1 hour"} {
			Expect(desk.Exec(ctx, "date", "-s", jump)).To(ExitWith(0))
			Expect(session.Do(ctx, probe.Notify("after", probe.Motion(1, 1)))).To(beAllOK())
		}
		Expect(session.Do(ctx, lifecycle()[3:]...)).To(beAllOK())
		Expect(session.Do(ctx, lifecycle()...)).To(beAllOK())
	})

	it("serves a session on after it was paused", "P58-pause", "chaos", 5*time.Minute, func(ctx SpecContext) {
		Expect(session.Do(ctx, lifecycle()[:3]...)).To(beAllOK())
		Expect(desk.Pause(ctx)).To(Succeed())
		Consistently(ctx, func() string { return desk.Status() }).Within(3 * time.Second).ProbeEvery(time.Second).ShouldNot(BeEmpty())
		Expect(desk.Resume(ctx)).To(Succeed())
		Expect(session.Do(ctx, lifecycle()[3:]...)).To(beAllOK())
	})

	it("serves again after the session's bus was restarted", "P55-bus", "chaos", 5*time.Minute, func(ctx SpecContext) {
		pid, err := session.Backend.PID(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(desk.Run(ctx, labtest.Cmd{Session: true, Argv: []string{"systemctl", "--user", "restart", "dbus.service"}})).To(ExitWith(0))
		Eventually(ctx, session.Backend.PID).Within(10*time.Second).ProbeEvery(200*time.Millisecond).
			ShouldNot(Equal(pid), "a process that has lost its bus")
		session, err = kit.Resume(ctx, desk, deployment)
		Expect(err).NotTo(HaveOccurred())
		Expect(session.Do(ctx, lifecycle()...)).To(beAllOK())
	})

	it("serves again after logout and login", "P56, C39", "chaos", 5*time.Minute, func(ctx SpecContext) {
		Expect(portal.Activate(ctx, desk, deployment)).To(Succeed())
		before, err := session.Backend.PID(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(desk.Shell(ctx, `uid=$(id -u desk); systemctl stop "user@$uid.service"; pgrep -u desk -f `+deployment.File()+`; systemctl start "user@$uid.service"`)).
			To(And(ExitWith(0), OutputMatching(`^$`)), "processes of the backend between logout and login")
		serves(ctx)
		after, err := desk.Shell(ctx, "pgrep -u desk -f "+deployment.File())
		Expect(err).NotTo(HaveOccurred())
		Expect(strings.Fields(after.Stdout())).To(And(HaveLen(1), Not(ContainElement(strconv.Itoa(before)))))
	})

	it("serves again after the power failed", "P58-power", "chaos", 10*time.Minute, func(ctx SpecContext) {
		Expect(portal.Activate(ctx, desk, deployment)).To(Succeed())
		Expect(desk.Exec(ctx, "sync")).To(ExitWith(0))
		Expect(desk.PowerOff(ctx)).To(Succeed())
		Expect(desk.PowerOn(ctx)).To(Succeed())
		Expect(desk.Exec(ctx, "test", "-e", "/run/cloud-init/result.json")).To(ExitWith(1), "cloud-init, which has nothing left to do")
		serves(ctx)
	})
})
