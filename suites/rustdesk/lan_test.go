package rustdesk_test

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/fixtures/rustdesk/probe"
	"ionlab/fixtures/rustdesk/server"
	"ionlab/labtest"
	. "ionlab/matchers"
)

// lanServer is where rustdesk-lan.yaml has the server.
const lanServer = "10.21.0.50"

var _ = Describe("On one LAN: "+product().String(), Ordered, ContinueOnFailure, SpecPriority(1), Label("vm", "rustdesk"), func() {
	w := &world{}
	var capture *labtest.Capture

	BeforeAll(func(ctx SpecContext) {
		w.start(ctx, "rustdesk-lan", lanServer)
		var err error
		capture, err = w.lab.Network("lan").Capture(ctx)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(30*time.Minute))

	sessionSpecs(w)
	repetitionSpecs(w)
	registrationSpecs(w) // here it has happened by now
	lineSpecs(w)
	securitySpecs(w)
	if standIn() {
		sessionFaultSpecs(w)
	}
	recoverySpecs(w)
	if product().Server.StandIn {
		evidenceSpec(w)
	}

	It("sends nothing to anybody outside the lab, and asks for no name of RustDesk's (C19, R13)", func(SpecContext) {
		all := packets(capture)
		inside := netip.MustParsePrefix("10.21.0.0/24")
		for _, p := range all {
			to := p.to.Addr()
			Expect(inside.Contains(to) || to.IsMulticast() || to == netip.MustParseAddr("255.255.255.255")).
				To(BeTrue(), "a packet from %s to %s", p.from, p.to)
			Expect(p.names).NotTo(ContainElement(ContainSubstring("rustdesk")))
		}
		report("packets looked at", len(all))
		Expect(carried(all, netip.MustParseAddr(lanServer), 21116, w.desk.Addr("lan"))).To(BeNumerically(">", 0), "the capture has the signalling")
	}, NodeTimeout(3*time.Minute))
})

func registrationSpecs(w *world) {
	It("registers its key, then itself, with the lab's server (C17, R11)", func(ctx SpecContext) {
		var kinds []string
		for _, e := range w.since(ctx, time.Time{}, "RegisterPk", "RegisterPeer") {
			if e.ID == w.id {
				kinds = append(kinds, e.Event+" "+e.Result)
			}
		}
		Expect(kinds).To(ContainElement("RegisterPk OK"))
		Eventually(ctx, func(ctx SpecContext) any { return w.since(ctx, time.Time{}, "RegisterPeer") }).WithContext(ctx).
			Within(20 * time.Second).ProbeEvery(time.Second).
			Should(ContainElement(And(HaveField("ID", w.id), HaveField("Result", "OK"))))
		Expect(w.host.Status(ctx)).To(And(HaveField("LatencyUS", BeNumerically(">", 0)), HaveField("KeyConfirmed", true)))
		config, err := w.host.Config(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(config.KeysConfirmed).To(HaveKeyWithValue(ContainSubstring(lanServer), true))
		Expect(w.hbbs.Peers(ctx)).To(ConsistOf(w.id))
	}, NodeTimeout(3*time.Minute))

	It("is listed as online within 20 s (C18)", func(ctx SpecContext) {
		Eventually(ctx, w.listed).WithContext(ctx).Within(20 * time.Second).ProbeEvery(time.Second).Should(BeTrue())
		Expect(w.probe.Online(ctx, w.to, "100000009")).To(BeFalse(), "and another one is not")
	}, NodeTimeout(3*time.Minute))

	It("has one id by the command line, the IPC, the file and the LAN (C9)", func(ctx SpecContext) {
		ids, err := w.host.IDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		for _, address := range []string{w.desk.Addr("lan").String(), "10.21.0.255"} {
			pong, err := w.probe.Discover(ctx, address)
			Expect(err).NotTo(HaveOccurred())
			Expect(pong.Hostname).To(Equal("desk"))
			ids["LAN "+address] = pong.ID
		}
		report("ids", fmt.Sprint(ids))
		Expect(ids).To(And(HaveLen(5), HaveEach(w.id)))
	}, NodeTimeout(3*time.Minute))

	It("finds a server with just its ports open (R10)", func(ctx SpecContext) {
		want := []string{"tcp/21115", "tcp/21116", "tcp/21117", "udp/21116"}
		if !kit.Product.Server.StandIn { // the stand-in has no websockets
			want = append(want, "tcp/21118", "tcp/21119")
		}
		Expect(w.hbbs.Ports(ctx)).To(ConsistOf(want))
	}, NodeTimeout(3*time.Minute))
}

// evidenceSpec holds what is read off the wire, which all other specs rest on, against what the stand-in tells of itself.
func evidenceSpec(w *world) {
	It("is watched by what passes the server's card, as the server itself has it", Label(exhaustive), func(ctx SpecContext) {
		names := []string{
			"RegisterPk", "PunchHoleRequest", "PunchHoleSent", "LocalAddr", "RequestRelay", "RelayResponse", "relay-waits", "relay-paired", "relay-closed",
		}
		lines := func(events []server.Event) []string {
			var all []string
			for _, e := range events {
				if strings.HasPrefix(e.From, lanServer+":") {
					continue // a client on the server's machine does not pass its card
				}
				if strings.HasPrefix(e.Event, "relay-") {
					e.From = "" // which of a pair was first is a matter of threads
				}
				line := fmt.Sprintf("%s id=%s from=%s uuid=%s bytes=%d", e.Event, e.ID, e.From, e.UUID, e.Bytes)
				if strings.HasPrefix(e.Event, "Register") || e.Event == "PunchHoleRequest" {
					line += " " + e.Result // what becomes of other messages no packet shows
				}
				all = append(all, line)
			}
			return all
		}
		Expect(w.connect(ctx, rustdesk.Connection{List: "/", ForceRelay: true})).To(And(HaveField("Error", ""), HaveField("Path", probe.PathRelay)))
		Eventually(ctx, func(g Gomega) {
			told, err := w.hbbs.Told(ctx, names...)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(lines(told)).To(ContainElement(HavePrefix("relay-closed")))
			g.Expect(lines(w.since(ctx, time.Time{}, names...))).To(ConsistOf(lines(told)))
		}).Within(20 * time.Second).ProbeEvery(time.Second).Should(Succeed())
	}, NodeTimeout(3*time.Minute))
}

const mebibyte = 1 << 20

func sessionSpecs(w *world) {
	It("is reached directly, encrypted, and carries 1 MiB byte for byte (C23, C31, C33, R20)", func(ctx SpecContext) {
		began := clock(ctx, w.server)
		s := w.connect(ctx, rustdesk.Connection{Forward: w.echo, Bytes: mebibyte})
		Expect(s.Error).To(BeEmpty())
		Expect(s.Path).To(Equal(probe.PathHole))
		Expect(s.Peer).To(HavePrefix(w.desk.Addr("lan").String() + ":"))
		Expect(s.Encrypted).To(BeTrue())
		Expect(s.Hostname).To(Equal("desk"))
		Expect(s.Echo).To(And(HaveField("Exact", true), HaveField("Bytes", mebibyte)))
		reportSession("LAN", s)
		Expect(w.since(ctx, began, "PunchHoleSent")).To(HaveLen(1))
		Expect(w.since(ctx, began, "RequestRelay", "relay-waits", "relay-paired")).To(BeEmpty())
	}, NodeTimeout(3*time.Minute))

	It("shows files and a terminal", func(ctx SpecContext) {
		Expect(w.desk.WriteFile(ctx, "/var/tmp/shelf/one book", []byte("text"), 0o644)).To(Succeed())
		Expect(w.connect(ctx, rustdesk.Connection{List: "/var/tmp/shelf"})).
			To(And(HaveField("Error", ""), HaveField("Files", ConsistOf("one book"))))
		Expect(w.connect(ctx, rustdesk.Connection{Shell: "echo $((6*7)) on $(hostname)"})).
			To(And(HaveField("Error", ""), HaveField("Terminal", ContainSubstring("42 on desk"))))
	}, NodeTimeout(3*time.Minute))

	It("has no direct access unless told, and then without a server (C29)", func(ctx SpecContext) {
		address := w.desk.Addr("lan").String()
		Expect(w.client.CheckPort(ctx, address+":21118")).NotTo(BeReachable())
		Expect(w.host.SetOption(ctx, "direct-server", "Y")).To(Succeed())
		Eventually(ctx, w.client.CheckPort).WithArguments(address + ":21118").Within(10 * time.Second).Should(BeReachable())
		began := clock(ctx, w.server)
		s := w.connect(ctx, rustdesk.Connection{Address: address, List: "/etc"})
		Expect(s).To(And(HaveField("Error", ""), HaveField("Path", probe.PathAddress), HaveField("Files", ContainElement("hostname"))))
		Expect(w.since(ctx, began, "PunchHoleRequest")).To(BeEmpty())
		Expect(w.host.SetOption(ctx, "direct-server", "")).To(Succeed())
		Eventually(ctx, w.client.CheckPort).WithArguments(address + ":21118").Within(10 * time.Second).ShouldNot(BeReachable())
	}, NodeTimeout(3*time.Minute))
}

// reportSession tells what a session took.
func reportSession(name string, s *rustdesk.Session) {
	GinkgoHelper()
	text := fmt.Sprintf("path %s, login after %d ms (found after %d)", s.Path, s.TookMS["total"], s.TookMS["find"])
	if s.Echo != nil {
		text += fmt.Sprintf(", round trip %s, %d bytes there and back in %s: %.1f Mbit/s",
			s.Echo.RTT.Round(100*time.Microsecond), s.Echo.Bytes, s.Echo.Took.Round(time.Millisecond), s.Echo.Rate/1e6)
	}
	report(name, text)
}

func securitySpecs(w *world) {
	It("gives no session to who has another server's key, and registers all the same (C21, R12)", func(ctx SpecContext) {
		// The key of 32 zero bytes is of the right form.
		wrong := rustdesk.Settings{Server: w.to.Server, Key: strings.Repeat("A", 43) + "="}
		s := w.connect(ctx, rustdesk.Connection{Settings: wrong})
		Expect(s.Error).To(ContainSubstring("Key mismatch"))
		Expect(w.host.SetOption(ctx, "key", wrong.Key)).To(Succeed())
		Expect(w.host.Restart(ctx)).To(Succeed())
		w.online(ctx)
		Expect(w.host.SetOption(ctx, "key", w.to.Key)).To(Succeed())
	}, NodeTimeout(3*time.Minute))

	It("refuses a wrong password, and after seven in a minute waits for the next (C30, R28)", func(ctx SpecContext) {
		// Wrong ones are counted by the minute of the host's clock, which is put to its beginning.
		Expect(w.desk.Shell(ctx, `date -s "$(date '+%Y-%m-%d %H:%M'):01"`)).To(ExitWith(0))
		for try := range 7 {
			Expect(w.connect(ctx, rustdesk.Connection{Password: "wrong", List: "/"}).Error).
				To(HaveSuffix("Wrong Password"), "try %d", try+1)
		}
		Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(HaveSuffix("Please try 1 minute later"), "also with the right one")
		Expect(output(ctx, w.desk, "date", "+%S")).To(MatchRegexp(`^[0-5]\d\n$`))
		Expect(w.desk.Shell(ctx, `date -s '+60 seconds'`)).To(ExitWith(0))
		Expect(w.connect(ctx, rustdesk.Connection{List: "/"}).Error).To(BeEmpty())
	}, NodeTimeout(5*time.Minute))

	It("keeps the password out of files, journal and process lists of all three machines (R07)", func(ctx SpecContext) {
		for _, n := range []*labtest.Node{w.desk, w.client, w.server} {
			nowhere(ctx, n)
		}
		Expect(openFiles(ctx, w.desk)).To(BeEmpty())
	}, NodeTimeout(3*time.Minute))
}
