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

var _ = Describe("Two machines of one image: "+product().String(), Ordered, ContinueOnFailure, Label("vm", "rustdesk"), func() {
	var (
		nodes  [2]*labtest.Node
		hosts  [2]*rustdesk.Host
		server *labtest.Node
		hbbs   *rustdesk.Server
	)

	BeforeAll(func(ctx SpecContext) {
		lab := startLab(ctx, "rustdesk-clones")
		nodes, server = [2]*labtest.Node{lab.Node("twin-1"), lab.Node("twin-2")}, lab.Node("server")
		Expect(together(
			func() (err error) { hosts[0], err = kit.Install(ctx, nodes[0]); return err },
			func() (err error) { hosts[1], err = kit.Install(ctx, nodes[1]); return err },
			func() (err error) { hbbs, err = kit.StartServer(ctx, server, rustdesk.ServerOptions{}); return err },
		)).To(Succeed())
		Expect(together(
			func() error { return hosts[0].WaitServer(ctx) },
			func() error { return hosts[1].WaitServer(ctx) },
		)).To(Succeed())
	}, NodeTimeout(30*time.Minute))

	It("have ids of their own (C11, R06)", func(ctx SpecContext) {
		one, err := hosts[0].ID(ctx)
		Expect(err).NotTo(HaveOccurred())
		two, err := hosts[1].ID(ctx)
		Expect(err).NotTo(HaveOccurred())
		report("ids", one+" "+two)
		Expect(one).NotTo(Equal(two))
		Expect(output(ctx, nodes[0], "cat", "/etc/machine-id")).NotTo(Equal(output(ctx, nodes[1], "cat", "/etc/machine-id")))
	}, NodeTimeout(3*time.Minute))

	It("get another id when the server refuses one that is too short, as of the MAC 52:54:00:00:00:01 (C12)", func(ctx SpecContext) {
		Expect(hosts[1].Stop(ctx)).To(Succeed())
		renameMAC(ctx, nodes[1], "52:54:00:00:00:01")
		Expect(nodes[1].Shell(ctx, "rm -rf /root/.config/rustdesk /home/desk/.config/rustdesk")).To(ExitWith(0))
		Expect(hosts[1].Restart(ctx)).To(Succeed())
		Expect(hosts[1].IDs(ctx)).To(And(HaveLen(3), HaveEach("1")))
		Expect(hosts[1].UseServer(ctx, hbbs.Settings(clonesServer))).To(Succeed())
		waitOnline(ctx, hosts[1])
		id, err := hosts[1].ID(ctx)
		Expect(err).NotTo(HaveOccurred())
		report("id after the refusal", id)
		Expect(id).To(MatchRegexp(`^1\d{9}$`))
		events, err := hbbs.Events(ctx, "RegisterPk")
		Expect(err).NotTo(HaveOccurred())
		Expect(events).To(ContainElement(And(HaveField("ID", "1"), HaveField("Result", "UUID_MISMATCH"))))
		Expect(events).To(ContainElement(And(HaveField("ID", id), HaveField("Result", "OK"))))
		Expect(hosts[1].Restart(ctx)).To(Succeed())
		Expect(hosts[1].ID(ctx)).To(Equal(id), "it stays")
	}, NodeTimeout(4*time.Minute))

	It("follow their server to another address within 90 s, and register every 15 s otherwise (C20, C39)", func(ctx SpecContext) {
		// The old server is on the second machine, the new one on the server.
		old, err := kit.StartServer(ctx, nodes[1], rustdesk.ServerOptions{})
		Expect(err).NotTo(HaveOccurred())
		before := nodes[1].Addr("lan").String()
		Expect(nodes[0].Shell(ctx, "echo '"+before+" id-server.test' >>/etc/hosts")).To(ExitWith(0))
		Expect(hosts[0].UseServer(ctx, old.Settings("id-server.test"))).To(Succeed())
		waitOnline(ctx, hosts[0])
		id, err := hosts[0].ID(ctx)
		Expect(err).NotTo(HaveOccurred())

		quiet, err := hosts[1].ID(ctx)
		Expect(err).NotTo(HaveOccurred())
		began := clock(ctx, server)
		Expect(errors.Join(old.Stop(ctx, rustdesk.IDServer), old.Stop(ctx, rustdesk.Relay))).To(Succeed())
		Expect(nodes[0].Exec(ctx, "sed", "-i", "s/^"+before+" /"+clonesServer+" /", "/etc/hosts")).To(ExitWith(0))
		var again time.Time
		Eventually(ctx, func(g Gomega) {
			all, err := hbbs.Events(ctx, "RegisterPeer")
			g.Expect(err).NotTo(HaveOccurred())
			again = time.Time{}
			for _, e := range all {
				if e.ID == id && e.Time.After(began) && again.IsZero() {
					again = e.Time
				}
			}
			g.Expect(again).NotTo(BeZero())
		}).Within(100 * time.Second).ProbeEvery(2 * time.Second).Should(Succeed())
		report("found at its new address", again.Sub(began).Round(time.Second).String()+" after the move")
		Expect(again.Sub(began)).To(BeNumerically("<", 90*time.Second))
		Expect(hosts[0].ID(ctx)).To(Equal(id))

		var gaps []string
		all, err := hbbs.Events(ctx, "RegisterPeer")
		Expect(err).NotTo(HaveOccurred())
		last := time.Time{}
		for _, e := range all {
			if e.ID != quiet || e.Time.Before(began) {
				continue
			}
			if !last.IsZero() {
				gaps = append(gaps, e.Time.Sub(last).Round(100*time.Millisecond).String())
				Expect(e.Time.Sub(last)).To(BeNumerically("~", 15*time.Second, 2*time.Second))
			}
			last = e.Time
		}
		report("between registrations", strings.Join(gaps, ", "))
		Expect(len(gaps)).To(BeNumerically(">=", 2))
	}, NodeTimeout(4*time.Minute))
})

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
