package rustdesk_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/fixtures/rustdesk/standin"
	"ionlab/labtest"
	. "ionlab/matchers"
)

// desktop is one machine with RustDesk and no server.
type desktop struct {
	node *labtest.Node
	host *rustdesk.Host
	id   string
}

var _ = Describe("Installed on a machine: "+product().String(), Ordered, ContinueOnFailure, Label("vm", "rustdesk"), func() {
	d := &desktop{}

	BeforeAll(func(ctx SpecContext) {
		d.node = startLab(ctx, "rustdesk").Node("desk")
		var err error
		d.host, err = kit.Install(ctx, d.node)
		Expect(err).NotTo(HaveOccurred())
		Expect(d.host.WaitServer(ctx)).To(Succeed())
		d.id, err = d.host.ID(ctx)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(30*time.Minute))

	packageSpecs(d)
	serviceSpecs(d)
	identitySpecs(d)
	settingSpecs(d)
	if standIn() {
		faultSpecs(d)
	}
	lifeSpecs(d)
})

func packageSpecs(d *desktop) {
	It("leaves no half-configured package, and may be installed again (C1, R01)", func(ctx SpecContext) {
		check := func() {
			GinkgoHelper()
			Expect(d.node.Exec(ctx, "dpkg-query", "-W", "-f", "${Status}", "rustdesk")).To(OutputMatching(`^install ok installed$`))
			Expect(d.node.Exec(ctx, "dpkg", "--audit")).To(And(ExitWith(0), OutputMatching(`^$`)))
			Expect(d.node.Exec(ctx, "dpkg", "-V", "rustdesk")).To(OutputMatching(`^$`))
		}
		check()
		Expect(d.node.Run(ctx, labtest.Cmd{
			Argv: []string{"apt-get", "install", "--yes", "--reinstall", "/var/tmp/rustdesk.deb"},
			Env:  map[string]string{"DEBIAN_FRONTEND": "noninteractive"}, Timeout: 5 * time.Minute,
		})).To(ExitWith(0))
		check()
		Expect(d.host.WaitServer(ctx)).To(Succeed())
	}, NodeTimeout(6*time.Minute))

	It("has its program where it belongs, and every library that it loads (C2)", func(ctx SpecContext) {
		Expect(d.node.Exec(ctx, "readlink", "-f", "/usr/bin/rustdesk")).To(OutputMatching(`^/usr/share/rustdesk/rustdesk\n$`))
		Expect(d.node.Shell(ctx, "ls /usr/share/rustdesk/lib/librustdesk.so")).To(ExitWith(0))
		res, err := d.node.Shell(ctx, "ldd /usr/share/rustdesk/rustdesk /usr/share/rustdesk/lib/librustdesk.so 2>&1")
		Expect(err).NotTo(HaveOccurred())
		report("libraries", res.Stdout())
		Expect(res.Stdout()).NotTo(ContainSubstring("not found"))
	}, NodeTimeout(3*time.Minute))

	It("tells its version, which is the package's (C3, R02)", func(ctx SpecContext) {
		res, err := d.node.Run(ctx, labtest.Cmd{Argv: []string{"rustdesk", "--version"}, Timeout: 20 * time.Second})
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Stderr()).NotTo(ContainSubstring("Failed to load"))
		version := strings.TrimSpace(res.Stdout())
		Expect(version).To(MatchRegexp(`^\d+\.\d+\.\d+(-\d+)?$`))
		Expect(output(ctx, d.node, "dpkg-query", "-W", "-f", "${Version}", "rustdesk")).To(Equal(version))
		report("version", version)
	}, NodeTimeout(3*time.Minute))
}

// mainPID is the process of the service.
func (d *desktop) mainPID(ctx context.Context) string {
	GinkgoHelper()
	return strings.TrimSpace(output(ctx, d.node, "systemctl", "show", "--value", "-p", "MainPID", "rustdesk"))
}

// servers are the users that have a server process, one a line.
func (d *desktop) servers(ctx context.Context) (string, error) {
	res, err := d.node.Shell(ctx, `for p in $(pgrep -x rustdesk); do tr '\0' ' ' </proc/$p/cmdline | grep -q -e '--server' && stat -c %U /proc/$p; done; true`)
	if err != nil {
		return "", err
	}
	return res.Stdout(), nil
}

func serviceSpecs(d *desktop) {
	It("runs its service as root, and goes on running (C4, R03)", func(ctx SpecContext) {
		Expect(d.node.Exec(ctx, "systemctl", "is-enabled", "rustdesk")).To(OutputMatching(`^enabled\n$`))
		pid := d.mainPID(ctx)
		Expect(output(ctx, d.node, "stat", "-c", "%U", "/proc/"+pid)).To(Equal("root\n"))
		Expect(output(ctx, d.node, "sh", "-c", "tr '\\0' ' ' </proc/"+pid+"/cmdline")).To(MatchRegexp(`rustdesk --service $`))
		// Ten seconds are over sooner where the specs before have taken some.
		Eventually(ctx, func() string { return strings.TrimSpace(output(ctx, d.node, "ps", "-o", "etimes=", "-p", pid)) }).
			Within(20 * time.Second).ProbeEvery(time.Second).Should(MatchRegexp(`^\d{2,}$`))
		Expect(d.node.Exec(ctx, "systemctl", "is-active", "rustdesk")).To(OutputMatching(`^active\n$`))
		Expect(d.mainPID(ctx)).To(Equal(pid))
		Expect(output(ctx, d.node, "systemctl", "show", "--value", "-p", "NRestarts", "rustdesk")).To(Equal("0\n"))
	}, NodeTimeout(3*time.Minute))

	It("has a server for the user at the seat, within 15 s of the session, and none without one (C5, C6)", func(ctx SpecContext) {
		Expect(output(ctx, d.node, "systemctl", "stop", "seat")).To(BeEmpty())
		Eventually(ctx, d.servers).WithContext(ctx).Within(15 * time.Second).ProbeEvery(time.Second).Should(BeEmpty())
		Expect(d.node.Exec(ctx, "systemctl", "is-active", "rustdesk")).To(OutputMatching(`^active\n$`))
		ids, err := d.host.IDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(ids).NotTo(HaveKey("IPC"))
		Expect(output(ctx, d.node, "systemctl", "start", "seat")).To(BeEmpty())
		Eventually(ctx, d.servers).WithContext(ctx).Within(15 * time.Second).ProbeEvery(time.Second).Should(Equal("desk\n"))
		Expect(d.host.WaitServer(ctx)).To(Succeed())
	}, NodeTimeout(3*time.Minute))
}

func identitySpecs(d *desktop) {
	It("tells its id without a person, the same one by each way and each time (C7, C8, C10, R04)", func(ctx SpecContext) {
		ids, err := d.host.IDs(ctx)
		Expect(err).NotTo(HaveOccurred())
		report("id", fmt.Sprint(ids))
		Expect(ids).To(And(HaveKey("--get-id"), HaveKey("IPC"), HaveKey("enc_id")))
		Expect(d.id).To(MatchRegexp(`^\d{6,12}$`))
		Expect(d.host.ID(ctx)).To(Equal(d.id))
		Expect(d.host.Restart(ctx)).To(Succeed())
		Expect(d.host.ID(ctx)).To(Equal(d.id))
	}, NodeTimeout(3*time.Minute))

	It("tells the session's user the same id (R05)", func(ctx SpecContext) {
		Expect(d.node.Run(ctx, labtest.Cmd{Argv: []string{"rustdesk", "--get-id"}, User: "desk", Timeout: 20 * time.Second})).
			To(OutputMatching(`^` + d.id + `\n$`))
	}, NodeTimeout(3*time.Minute))
}

// hash is the password as the configuration has it.
func (d *desktop) hash(ctx context.Context) string {
	GinkgoHelper()
	config, err := d.host.Config(ctx)
	Expect(err).NotTo(HaveOccurred())
	return config.Password
}

// openFiles lists files of the configuration that others than their owner may read.
func openFiles(ctx context.Context, n *labtest.Node) string {
	GinkgoHelper()
	return output(ctx, n, "find", "/root/.config/rustdesk", "/home/desk/.config/rustdesk", "-type", "f", "-perm", "/077")
}

func settingSpecs(d *desktop) {
	It("takes no password from a user without privileges (C14)", func(ctx SpecContext) {
		before := d.hash(ctx)
		Expect(d.node.Run(ctx, labtest.Cmd{Argv: []string{"rustdesk", "--password", "x"}, User: "desk", Timeout: 20 * time.Second})).
			To(OutputContaining("Installation and administrative privileges required!"))
		Expect(d.hash(ctx)).To(Equal(before))
	}, NodeTimeout(3*time.Minute))

	It("takes root's password, and keeps it nowhere as text (C15, R07)", func(ctx SpecContext) {
		Expect(d.host.SetPassword(ctx, password)).To(Succeed())
		Expect(d.hash(ctx)).NotTo(BeEmpty())
		nowhere(ctx, d.node)
		Expect(output(ctx, d.node, "find", "/root/.config/rustdesk", "/home/desk/.config/rustdesk", "-name", "RustDesk*.toml")).
			To(And(ContainSubstring("/root/"), ContainSubstring("/home/desk/")), "there is something to look at")
		Expect(openFiles(ctx, d.node)).To(BeEmpty())
	}, NodeTimeout(3*time.Minute))

	It("keeps an option, also in the files of the session's user and of root (C16)", func(ctx SpecContext) {
		Expect(d.host.SetOption(ctx, "custom-rendezvous-server", "server.lab")).To(Succeed())
		for _, home := range []string{"/home/desk", "/root"} {
			Eventually(ctx, d.node.ReadFile).WithArguments(home + "/.config/rustdesk/RustDesk2.toml").
				Within(10 * time.Second).ProbeEvery(500 * time.Millisecond).Should(ContainSubstring("server.lab"))
		}
		Expect(d.host.SetOption(ctx, "custom-rendezvous-server", "")).To(Succeed())
	}, NodeTimeout(3*time.Minute))

	It("keeps its id and settings when the disk is full", func(ctx SpecContext) {
		Expect(d.host.SetOption(ctx, "direct-server", "N")).To(Succeed())
		// The session's user has none of root's reserve, so what is free for users is enough to take.
		Expect(d.node.Shell(ctx, `fallocate -l $(df --output=avail -B1 / | tail -1) /var/tmp/full`)).To(ExitWith(0))
		more := labtest.Cmd{Shell: "head -c 64M /dev/zero >>/home/desk/more", User: "desk", Timeout: time.Minute}
		Expect(d.node.Run(ctx, more)).To(And(Not(ExitWith(0)), ErrorOutputContaining("No space left on device")))
		Expect(d.host.SetOption(ctx, "direct-server", "Y")).NotTo(Succeed())
		Expect(d.host.ID(ctx)).To(Equal(d.id))
		Expect(d.node.Exec(ctx, "rm", "/var/tmp/full", "/home/desk/more")).To(ExitWith(0))
		Expect(d.host.Option(ctx, "direct-server")).To(Equal("N"))
		Expect(d.host.Restart(ctx)).To(Succeed())
		Expect(d.host.ID(ctx)).To(Equal(d.id))
		Expect(d.host.SetOption(ctx, "direct-server", "")).To(Succeed())
	}, NodeTimeout(3*time.Minute))
}

// nowhere looks for the password in everything that RustDesk might have written, in the journal and in command lines.
func nowhere(ctx context.Context, n *labtest.Node) {
	GinkgoHelper()
	Expect(whereabouts(ctx, n)).To(And(ExitWith(0), OutputMatching(`^$`)))
}

// whereabouts is the command that prints where the password is found as text.
func whereabouts(ctx context.Context, n *labtest.Node) (*labtest.Result, error) {
	return n.Run(ctx, labtest.Cmd{
		// The pattern is no argument, or grep would find itself.
		Shell: `read -r word
grep -rlF -f /dev/stdin /root /home /etc /tmp /var/log /var/tmp 2>/dev/null <<<"$word"
journalctl --quiet --no-pager | grep -nF -f <(echo "$word")
grep -lF -f /dev/stdin /proc/[0-9]*/cmdline 2>/dev/null <<<"$word"
true`,
		Stdin: strings.NewReader(password + "\n"), Timeout: time.Minute,
	})
}

// faultSpecs show that the checks above fail when they should.
func faultSpecs(d *desktop) {
	Describe("with a fault, is found out:", Ordered, func() {
		BeforeAll(func(ctx SpecContext) { // each shows in another place
			Expect(d.host.SetFaults(ctx, standin.FaultWrongID, standin.FaultPlainPassword, standin.FaultOpenFiles)).To(Succeed())
		}, NodeTimeout(3*time.Minute))

		It("another id on the command line", func(ctx SpecContext) {
			Expect(d.host.ID(ctx)).Error().To(MatchError(ContainSubstring(`differs by the way it is read: --get-id says "100000002"`)))
		}, NodeTimeout(3*time.Minute))

		It("a password kept as text", func(ctx SpecContext) {
			Expect(d.host.SetPassword(ctx, password)).To(MatchError(ContainSubstring("plain text")))
			Expect(InterceptGomegaFailure(func() { nowhere(ctx, d.node) })).To(MatchError(ContainSubstring("RustDesk.toml")))
		}, NodeTimeout(5*time.Minute))

		It("files that others may read", func(ctx SpecContext) {
			Expect(d.host.SetOption(ctx, "direct-server", "N")).To(Succeed())
			Expect(openFiles(ctx, d.node)).To(ContainSubstring("RustDesk2.toml"))
		}, NodeTimeout(5*time.Minute))

		It("and nothing of it without them", func(ctx SpecContext) {
			Expect(d.host.SetFaults(ctx)).To(Succeed())
			Expect(d.host.ID(ctx)).To(Equal(d.id))
			Expect(d.host.SetOption(ctx, "direct-server", "")).To(Succeed())
			Expect(d.host.SetPassword(ctx, password)).To(Succeed())
			// The user's server hands its files to the service a moment later.
			Eventually(ctx, whereabouts).WithArguments(d.node).Within(10 * time.Second).Should(And(ExitWith(0), OutputMatching(`^$`)))
			Eventually(ctx, func() string { return openFiles(ctx, d.node) }).Within(10 * time.Second).Should(BeEmpty())
		}, NodeTimeout(5*time.Minute))

		It("a library that is not there, though the exit code is 0", func(ctx SpecContext) {
			const library = "/usr/share/rustdesk/lib/librustdesk.so"
			Expect(d.node.Exec(ctx, "mv", library, "/var/tmp/library")).To(ExitWith(0))
			DeferCleanup(func(ctx SpecContext) { Expect(d.node.Exec(ctx, "mv", "/var/tmp/library", library)).To(ExitWith(0)) })
			Expect(d.node.Exec(ctx, "rustdesk", "--version")).To(ExitWith(0))
			Expect(d.host.Version(ctx)).Error().To(MatchError(ContainSubstring("Failed to load")))
			Expect(d.host.ID(ctx)).Error().To(MatchError(ContainSubstring("prints no id")))
			Expect(d.node.Exec(ctx, "dpkg", "-V", "rustdesk")).NotTo(OutputMatching(`^$`))
		}, NodeTimeout(3*time.Minute))

		It("a service that stops itself, though it was started", func(ctx SpecContext) {
			DeferCleanup(func(ctx SpecContext) {
				Expect(d.node.Shell(ctx, `rustdesk --option stop-service "" &&
sed -i /stop-service/d /root/.config/rustdesk/RustDesk2.toml /home/desk/.config/rustdesk/RustDesk2.toml && systemctl enable rustdesk`)).To(ExitWith(0))
				Expect(d.host.Restart(ctx)).To(Succeed())
			})
			// Not SetOption, whose reading back the stopping service may end: it ends all that is called "rustdesk --".
			Expect(d.node.Exec(ctx, "rustdesk", "--option", "stop-service", "Y")).To(ExitWith(0))
			Eventually(ctx, d.node.Exec).WithArguments("systemctl", "is-active", "rustdesk").
				Within(45 * time.Second).ProbeEvery(time.Second).ShouldNot(OutputMatching(`^active\n$`))
			Expect(d.node.Exec(ctx, "systemctl", "is-enabled", "rustdesk")).To(OutputMatching(`^disabled\n$`))
		}, NodeTimeout(3*time.Minute))
	})
}

func lifeSpecs(d *desktop) {
	// A usual run has the reboot on one LAN, which asks for more than this one.
	It("is back after a reboot, with the same id (C13, R03, R04)", Label(exhaustive), func(ctx SpecContext) {
		Expect(d.node.Reboot(ctx)).To(Succeed())
		Expect(d.host.WaitServer(ctx)).To(Succeed())
		Expect(d.node.Exec(ctx, "systemctl", "is-active", "rustdesk")).To(OutputMatching(`^active\n$`))
		id, err := d.host.ID(ctx)
		Expect(err).NotTo(HaveOccurred())
		report("id before and after the reboot", d.id+" "+id)
		Expect(id).To(Equal(d.id))
	}, NodeTimeout(6*time.Minute))

	It("goes away without a trace when it is purged (C40, R08)", func(ctx SpecContext) {
		Expect(d.node.Run(ctx, labtest.Cmd{Argv: []string{"dpkg", "--purge", "rustdesk"}, Timeout: 2 * time.Minute})).To(ExitWith(0))
		Expect(d.node.Exec(ctx, "pgrep", "-x", "rustdesk")).To(ExitWith(1))
		Expect(d.node.Exec(ctx, "systemctl", "cat", "rustdesk")).NotTo(ExitWith(0))
		for _, path := range []string{"/usr/bin/rustdesk", "/usr/share/rustdesk", "/root/.config/rustdesk", "/usr/lib/systemd/system/rustdesk.service"} {
			Expect(d.node.Exec(ctx, "test", "-e", path)).To(ExitWith(1), path)
		}
		Expect(d.node.Shell(ctx, "ss -lntuH | grep -E ':211(1[5-9])'")).To(ExitWith(1), "no port is left open")
	}, NodeTimeout(3*time.Minute))
}
