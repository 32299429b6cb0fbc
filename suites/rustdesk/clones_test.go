package rustdesk_test

import (
	"context"
	"errors"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/labtest"
	. "ionlab/matchers"
)

// clonesServer is where rustdesk-clones.yaml has the server.
const clonesServer = "10.22.0.50"

// clones are two machines of one image, and a server.
type clones struct {
	nodes  [2]*labtest.Node
	hosts  [2]*rustdesk.Host
	server *labtest.Node
	hbbs   *rustdesk.Server
}

var _ = Describe("Two machines of one image: "+product().String(), Ordered, ContinueOnFailure, Label("vm", "rustdesk"), func() {
	c := &clones{}

	BeforeAll(func(ctx SpecContext) {
		lab := startLab(ctx, "rustdesk-clones", setUp(furnishClones, ""))
		c.nodes, c.server = [2]*labtest.Node{lab.Node("twin-1"), lab.Node("twin-2")}, lab.Node("server")
		c.hosts = [2]*rustdesk.Host{kit.HostOn(c.nodes[0]), kit.HostOn(c.nodes[1])}
		var err error
		c.hbbs, err = kit.ServerOn(ctx, c.server, rustdesk.ServerOptions{})
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(30*time.Minute))

	It("have ids of their own (C11, R06)", func(ctx SpecContext) {
		one, err := c.hosts[0].ID(ctx)
		Expect(err).NotTo(HaveOccurred())
		two, err := c.hosts[1].ID(ctx)
		Expect(err).NotTo(HaveOccurred())
		report("ids", one+" "+two)
		Expect(one).NotTo(Equal(two))
		Expect(output(ctx, c.nodes[0], "cat", "/etc/machine-id")).NotTo(Equal(output(ctx, c.nodes[1], "cat", "/etc/machine-id")))
	}, NodeTimeout(3*time.Minute))

	moveSpecs(c)
})

// furnishClones installs the host on both machines, and the server.
func furnishClones(ctx context.Context, l *labtest.Lab) error {
	install := func(node string) error {
		host, err := kit.Install(ctx, l.Node(node))
		if err != nil {
			return err
		}
		return host.WaitServer(ctx)
	}
	return together(
		func() error { return install("twin-1") },
		func() error { return install("twin-2") },
		func() error { _, err := kit.StartServer(ctx, l.Node("server"), rustdesk.ServerOptions{}); return err },
	)
}

// moveSpecs has the first machine lose its server, and goes on with the second until the first has found it again.
func moveSpecs(c *clones) {
	Describe("one of which has lost its server:", Ordered, func() {
		var moved, rested time.Time
		var id string

		BeforeAll(func(ctx SpecContext) {
			// The old server is on the second machine, the new one on the server.
			old, err := kit.StartServer(ctx, c.nodes[1], rustdesk.ServerOptions{})
			Expect(err).NotTo(HaveOccurred())
			before := c.nodes[1].Addr("lan").String()
			Expect(c.nodes[0].Shell(ctx, "echo '"+before+" id-server.test' >>/etc/hosts")).To(ExitWith(0))
			Expect(c.hosts[0].UseServer(ctx, old.Settings("id-server.test"))).To(Succeed())
			waitOnline(ctx, c.hosts[0])
			id, err = c.hosts[0].ID(ctx)
			Expect(err).NotTo(HaveOccurred())
			moved = clock(ctx, c.server)
			Expect(errors.Join(old.Stop(ctx, rustdesk.IDServer), old.Stop(ctx, rustdesk.Relay))).To(Succeed())
			Expect(c.nodes[0].Exec(ctx, "sed", "-i", "s/^"+before+" /"+clonesServer+" /", "/etc/hosts")).To(ExitWith(0))
		}, NodeTimeout(4*time.Minute))

		It("get another id when the server refuses one that is too short, as of the MAC 52:54:00:00:00:01 (C12)", func(ctx SpecContext) {
			c.refused(ctx)
			rested = clock(ctx, c.server)
		}, NodeTimeout(4*time.Minute))

		It("follow their server to another address within 90 s (C39)", func(ctx SpecContext) {
			found := c.registrations(ctx, id, moved, 1, 100*time.Second)[0].Sub(moved)
			report("found at its new address", found.Round(time.Second).String()+" after the move")
			Expect(found).To(BeNumerically("<", 90*time.Second))
			Expect(c.hosts[0].ID(ctx)).To(Equal(id))
		}, NodeTimeout(4*time.Minute))

		It("register every 15 s (C20)", func(ctx SpecContext) {
			Expect(c.hosts[1].UseServer(ctx, c.hbbs.Settings(clonesServer))).To(Succeed())
			quiet, err := c.hosts[1].ID(ctx)
			Expect(err).NotTo(HaveOccurred())
			var gaps []string
			heard := c.registrations(ctx, quiet, rested, 3, time.Minute)
			for i, at := range heard[1:] {
				gap := at.Sub(heard[i])
				gaps = append(gaps, gap.Round(100*time.Millisecond).String())
				Expect(gap).To(BeNumerically("~", 15*time.Second, 2*time.Second))
			}
			report("between registrations", strings.Join(gaps, ", "))
		}, NodeTimeout(3*time.Minute))
	})
}

// refused gives the second machine a MAC address whose id is too short for the server.
func (c *clones) refused(ctx context.Context) {
	GinkgoHelper()
	host, node := c.hosts[1], c.nodes[1]
	Expect(host.Stop(ctx)).To(Succeed())
	renameMAC(ctx, node, "52:54:00:00:00:01")
	Expect(node.Shell(ctx, "rm -rf /root/.config/rustdesk /home/desk/.config/rustdesk")).To(ExitWith(0))
	Expect(host.Restart(ctx)).To(Succeed())
	Expect(host.IDs(ctx)).To(And(HaveLen(3), HaveEach("1")))
	Expect(host.UseServer(ctx, c.hbbs.Settings(clonesServer))).To(Succeed())
	waitOnline(ctx, host)
	id, err := host.ID(ctx)
	Expect(err).NotTo(HaveOccurred())
	report("id after the refusal", id)
	Expect(id).To(MatchRegexp(`^1\d{9}$`))
	events, err := c.hbbs.Events(ctx, "RegisterPk")
	Expect(err).NotTo(HaveOccurred())
	Expect(events).To(ContainElement(And(HaveField("ID", "1"), HaveField("Result", "UUID_MISMATCH"))))
	Expect(events).To(ContainElement(And(HaveField("ID", id), HaveField("Result", "OK"))))
	Expect(host.Restart(ctx)).To(Succeed())
	Expect(host.ID(ctx)).To(Equal(id), "it stays")
}

// registrations waits until a host has registered so often after a time, and tells when it did.
func (c *clones) registrations(ctx context.Context, id string, after time.Time, count int, within time.Duration) (heard []time.Time) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		all, err := c.hbbs.Events(ctx, "RegisterPeer")
		g.Expect(err).NotTo(HaveOccurred())
		heard = nil
		for _, e := range all {
			if e.ID == id && e.Time.After(after) {
				heard = append(heard, e.Time)
			}
		}
		g.Expect(len(heard)).To(BeNumerically(">=", count))
	}).Within(within).ProbeEvery(time.Second).Should(Succeed())
	return heard
}

func waitOnline(ctx context.Context, h *rustdesk.Host) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	Expect(h.WaitOnline(ctx)).To(Succeed())
}

// renameMAC gives the first network card another address. The way back to this command leads through that card: what it
// knows of its neighbours is forgotten, so that it asks them, and they learn the new address by that.
func renameMAC(ctx context.Context, n *labtest.Node, mac string) {
	GinkgoHelper()
	Expect(n.Shell(ctx, `dev=$(ip -o -4 addr show scope global | awk '{print $2; exit}')
ip link set "$dev" address `+mac+` && ip neigh flush dev "$dev"`)).To(ExitWith(0))
	Expect(n.Shell(ctx, `cat /sys/class/net/$(ip -o -4 addr show scope global | awk '{print $2; exit}')/address`)).To(OutputMatching(`^` + mac + `\n$`))
}
