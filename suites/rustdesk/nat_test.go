package rustdesk_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
	"ionlab/fixtures/rustdesk/probe"
	"ionlab/fixtures/rustdesk/protocol"
	"ionlab/labtest"
	. "ionlab/matchers"
)

// side is what stands between a machine and the public network: its box and its carrier's router.
type side struct {
	name         string
	box, carrier labtest.NAT
	// foretold tells that every peer sees one port, as RustDesk's test has it; otherwise it goes to the relay.
	foretold bool
}

// sides are the kinds of the matrix. The carrier is as RFC 6888 asks for, with ports drawn at random.
func sides() []side {
	carrier := labtest.FullCone()
	carrier.Ports, carrier.UDPTimeout = labtest.RandomPorts, 2*time.Minute
	return []side{
		{"open", labtest.NoNAT(), labtest.NoNAT(), true},
		{"full-cone", labtest.FullCone(), labtest.NoNAT(), true},
		{"restricted", labtest.RestrictedCone(), labtest.NoNAT(), true},
		{"port-restricted", labtest.PortRestrictedCone(), labtest.NoNAT(), true},
		{"symmetric", labtest.Symmetric(), labtest.NoNAT(), false},
		{"cgnat", labtest.PortRestrictedCone(), carrier, true},
	}
}

// natServer is where rustdesk-nat.yaml has the server.
const natServer = "203.0.113.50"

// neighbour is the client's address in the host's site.
const neighbour = "192.168.20.6"

// public is the address that the world sees of the machine behind a side. a is the client's, b the host's.
func (s side) public(letter string) netip.Addr {
	addresses := map[string][3]string{
		"a": {"192.168.10.5", "198.51.100.11", "203.0.113.7"}, "b": {"192.168.20.5", "198.51.100.139", "203.0.113.8"},
	}[letter]
	switch s.name {
	case "open":
		return netip.MustParseAddr(addresses[0])
	case "cgnat":
		return netip.MustParseAddr(addresses[2])
	default:
		return netip.MustParseAddr(addresses[1])
	}
}

// way is how a session should get through: what theory and RustDesk's own rules give. RustDesk does not try a hole where one
// side's port cannot be foretold, also where one would open.
func way(client, host side, forced bool) string {
	switch {
	case forced || !client.foretold || !host.foretold:
		return "relayed"
	case host.name == "open":
		return "direct"
	default:
		return "punched"
	}
}

// sampled tells whether a case is part of every run: each kind on each side, and each way.
func sampled(client, host side, forced bool) bool {
	clients := map[string]string{
		"open": "open", "full-cone": "symmetric", "restricted": "full-cone", "port-restricted": "port-restricted cgnat",
		"symmetric": "port-restricted", "cgnat": "restricted",
	}
	for _, name := range strings.Fields(clients[host.name]) {
		if name == client.name {
			return !forced || host.name == "open"
		}
	}
	return false
}

// matrix is a lab with a NAT of any kind on each side.
type matrix struct {
	world
	// second is the client's card in the host's site.
	second string
	rows   []string
}

var _ = Describe("Behind NATs: "+product().String(), Ordered, ContinueOnFailure, SpecPriority(1), Label("vm", "rustdesk", "nat"), func() {
	m := &matrix{}

	BeforeAll(func(ctx SpecContext) {
		m.start(ctx, "rustdesk-nat", natServer)
		m.secondLink(ctx, "down")
	}, NodeTimeout(30*time.Minute))

	for _, host := range sides() {
		Describe("a host that is "+host.name, Ordered, func() {
			BeforeAll(func(ctx SpecContext) { m.settle(ctx, host) }, NodeTimeout(3*time.Minute))
			for _, client := range sides() {
				for _, forced := range []bool{false, true} {
					m.pairSpec(client, host, forced)
				}
			}
			if host.name == "port-restricted" {
				m.neighbourSpecs(host)
			}
			if host.name == "open" {
				m.firewallSpec(host)
			}
			m.blockedSpec(host)
		})
	}

	AfterAll(func() {
		report("matrix", "| host | client | relay | way | login |\n|---|---|---|---|---|\n"+strings.Join(m.rows, "\n"))
	})
})

// put gives the routers of a side their NAT.
func (m *matrix) put(ctx context.Context, letter string, s side) {
	GinkgoHelper()
	Expect(m.lab.Router("carrier-"+letter).SetNAT(ctx, s.carrier)).To(Succeed())
	Expect(m.lab.Router("box-"+letter).SetNAT(ctx, s.box)).To(Succeed())
}

// settle puts the host behind its NAT and waits until it has found out what that is, and is registered from there.
func (m *matrix) settle(ctx context.Context, host side) {
	GinkgoHelper()
	// A registration of the service before would have a port that nobody listens on any more.
	Expect(m.host.Stop(ctx)).To(Succeed())
	m.put(ctx, "b", host)
	began := clock(ctx, m.server)
	Expect(m.host.Restart(ctx)).To(Succeed())
	m.online(ctx)
	want := protocol.NatAsymmetric
	if !host.foretold {
		want = protocol.NatSymmetric
	}
	Eventually(ctx, func(g Gomega) {
		g.Expect(m.knownFrom(ctx, began, host.public("b"))).To(BeTrue(), "the server sends to the host's new address and port")
		dir, err := m.host.ConfigDir(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		data, err := m.desk.ReadFile(ctx, dir+"/RustDesk2.toml")
		g.Expect(err).NotTo(HaveOccurred())
		config, err := protocol.ParseConfig2(data)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(protocol.NatType(config.NatType)).To(Equal(want), "the host's own judgement of its NAT")
	}).Within(90 * time.Second).ProbeEvery(500 * time.Millisecond).Should(Succeed())
}

// knownFrom tells whether the server has had the host's port behind an address since an instant. hbbs takes it from RegisterPeer, and from
// RegisterPk only where the address is another than before.
func (m *matrix) knownFrom(ctx context.Context, began time.Time, address netip.Addr) bool {
	GinkgoHelper()
	known := ""
	for _, e := range m.since(ctx, time.Time{}, "RegisterPeer", "RegisterPk") {
		if e.Result != "OK" {
			continue
		}
		from, _, _ := strings.Cut(e.From, ":")
		if !e.Time.Before(began) && from == address.String() && (e.Event == "RegisterPeer" || from != known) {
			return true
		}
		known = from
	}
	return false
}

// secondLink takes the client's link into the host's site up or down. The guest takes the address off a link that is down, and
// puts it on again some time after it is up.
func (m *matrix) secondLink(ctx context.Context, state string) {
	GinkgoHelper()
	if m.second == "" {
		m.second = strings.TrimSpace(output(ctx, m.client, "sh", "-c", "ip -o -4 addr show to "+neighbour+" | awk '{print $2}'"))
		Expect(m.second).NotTo(BeEmpty(), "the client's card in the host's site")
	}
	Expect(m.client.Exec(ctx, "ip", "link", "set", m.second, state)).To(ExitWith(0))
	want := BeEmpty()
	if state == "up" {
		want = ContainSubstring(neighbour)
	}
	Eventually(ctx, func() string { return output(ctx, m.client, "ip", "-o", "-4", "addr", "show", "dev", m.second) }).
		Within(30 * time.Second).ProbeEvery(300 * time.Millisecond).Should(want)
}

func (m *matrix) pairSpec(client, host side, forced bool) {
	text := fmt.Sprintf("is reached by a client that is %s: %s", client.name, way(client, host, forced))
	if forced {
		text = fmt.Sprintf("is reached by a client that is %s and asks for the relay: relayed", client.name)
	}
	numbers := ""
	switch {
	case forced && client.name == "open":
		numbers = " (C27, R22)"
	case client.name == "port-restricted" && host.name == "port-restricted":
		numbers = " (C25, R21)"
	case host.name == "symmetric":
		numbers = " (C26, R21)"
	}
	labels := Label()
	if !sampled(client, host, forced) {
		labels = Label(exhaustive)
	}
	It(text+numbers, labels, func(ctx SpecContext) {
		m.put(ctx, "a", client)
		m.through(ctx, client, host, forced)
	}, NodeTimeout(3*time.Minute))
}

// through opens a session, sends 1 MiB both ways and holds what came of it against what the server, the relay and the
// wire before the host's carrier saw.
func (m *matrix) through(ctx context.Context, client, host side, forced bool) {
	GinkgoHelper()
	capture, err := m.lab.Router("carrier-b").Link("wan").Capture(ctx)
	Expect(err).NotTo(HaveOccurred())
	began := clock(ctx, m.server)
	s := m.connect(ctx, rustdesk.Connection{Forward: m.echo, Bytes: mebibyte, ForceRelay: forced})
	Expect(s.Error).To(BeEmpty())
	Expect(s.Echo).To(And(HaveField("Exact", true), HaveField("Bytes", mebibyte)))
	want := way(client, host, forced)
	reportSession(fmt.Sprintf("host %s, client %s, %s", host.name, client.name, want), s)
	m.rows = append(m.rows, fmt.Sprintf("| %s | %s | %s | %s | %.1f s |", host.name, client.name, word(forced, "forced", "if needed"), want, float64(s.TookMS["total"])/1000))

	all := packets(capture)
	direct := carried(all, host.public("b"), 0, client.public("a"))
	relayed := carried(all, netip.MustParseAddr(natServer), protocol.PortRelay, host.public("b"))
	if want == "relayed" {
		Expect(s.Path).To(Equal(probe.PathRelay))
		Expect(direct).To(BeZero(), "bytes that went straight")
		Expect(relayed).To(BeNumerically(">=", 2*mebibyte))
		Expect(knocks(all, host, client)).To(BeZero(), "connections that were tried straight")
		Eventually(ctx, func() any { return m.since(ctx, began, "relay-closed") }).Within(10 * time.Second).
			Should(ContainElement(HaveField("Bytes", BeNumerically(">=", 2*mebibyte))))
	} else {
		Expect(s.Path).To(Equal(probe.PathHole))
		Expect(s.Peer).To(HavePrefix(host.public("b").String()+":"), "the host as the world sees it")
		Expect(direct).To(BeNumerically(">=", 2*mebibyte))
		Expect(relayed).To(BeZero(), "bytes by way of the relay")
		Expect(m.since(ctx, began, "PunchHoleSent")).To(HaveLen(1))
		Expect(m.since(ctx, began, "relay-waits", "relay-paired")).To(BeEmpty())
	}
	Expect(os.Remove(capture.Path())).To(Succeed(), "of a good case nothing has to be kept")
}

func word(yes bool, ifYes, ifNo string) string {
	if yes {
		return ifYes
	}
	return ifNo
}

// knocks counts connections that one side tried to open at the other's public address.
func knocks(all []packet, host, client side) (n int) {
	a, b := client.public("a"), host.public("b")
	for _, p := range all {
		if p.asks && (p.from.Addr() == a && p.to.Addr() == b || p.from.Addr() == b && p.to.Addr() == a) {
			n++
		}
	}
	return n
}

func (m *matrix) neighbourSpecs(host side) {
	It("is reached by a client behind the same NAT on its LAN (C24)", func(ctx SpecContext) {
		m.put(ctx, "a", host)
		m.secondLink(ctx, "up")
		DeferCleanup(func(ctx SpecContext) { m.secondLink(ctx, "down") })
		Expect(m.client.Exec(ctx, "ip", "route", "replace", natServer, "via", "192.168.20.2")).To(ExitWith(0))
		capture, err := m.lab.Router("carrier-b").Link("wan").Capture(ctx)
		Expect(err).NotTo(HaveOccurred())
		began := clock(ctx, m.server)
		s := m.connect(ctx, rustdesk.Connection{Forward: m.echo, Bytes: mebibyte})
		Expect(s).To(And(HaveField("Error", ""), HaveField("Path", probe.PathLocal), HaveField("Peer", HavePrefix("192.168.20.5:")), HaveField("Echo.Exact", true)))
		reportSession("same NAT", s)
		m.rows = append(m.rows, fmt.Sprintf("| %s | same NAT | if needed | LAN | %.1f s |", host.name, float64(s.TookMS["total"])/1000))
		Expect(m.since(ctx, began, "PunchHoleRequest")).To(ContainElement(HaveField("Result", "FetchLocalAddr")))
		Expect(m.since(ctx, began, "LocalAddr")).To(HaveLen(1))
		bytes := 0
		for _, p := range packets(capture) {
			bytes += p.bytes
		}
		Expect(bytes).To(BeNumerically("<", 20_000), "nothing but signalling leaves the site")
	}, NodeTimeout(3*time.Minute))

	It("is reached by a client that may send no UDP: sessions need none (R24)", func(ctx SpecContext) {
		m.put(ctx, "a", host)
		m.blockUDP(ctx, m.client)
		m.through(ctx, host, host, false)
	}, NodeTimeout(3*time.Minute))

	It("is not reached without a relay where it is needed, and the client is told so (C28)", func(ctx SpecContext) {
		m.put(ctx, "a", sides()[4])
		Expect(m.hbbs.Stop(ctx, rustdesk.Relay)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(m.hbbs.Start(ctx, rustdesk.Relay)).To(Succeed()) })
		s := m.connect(ctx, rustdesk.Connection{})
		Expect(s.Error).To(ContainSubstring("Failed to connect via relay server"))
		Expect(m.listed(ctx)).To(BeTrue())
	}, NodeTimeout(3*time.Minute))
}

func (m *matrix) firewallSpec(host side) {
	It("is reached by the relay when its own firewall lets nothing in (R23)", func(ctx SpecContext) {
		m.put(ctx, "a", host)
		Expect(m.desk.Shell(ctx, `nft -f - <<'END'
table inet shut {
	chain in {
		type filter hook input priority 0; policy drop
		iif lo accept
		tcp sport 21115-21117 accept
		udp sport 21116 accept
		tcp dport 22 accept
	}
}
END`)).To(ExitWith(0))
		DeferCleanup(func(ctx SpecContext) {
			Expect(m.desk.Exec(ctx, "nft", "delete", "table", "inet", "shut")).To(ExitWith(0))
		})
		s := m.connect(ctx, rustdesk.Connection{Forward: m.echo, Bytes: mebibyte})
		Expect(s).To(And(HaveField("Error", ""), HaveField("Path", probe.PathRelay), HaveField("Echo.Exact", true)))
		reportSession("firewall", s)
		m.rows = append(m.rows, fmt.Sprintf("| open, own firewall | open | if needed | relayed | %.1f s |", float64(s.TookMS["total"])/1000))
	}, NodeTimeout(3*time.Minute))
}

// blockUDP keeps a machine from sending and getting UDP, until the end of the spec.
func (m *matrix) blockUDP(ctx context.Context, n *labtest.Node) {
	GinkgoHelper()
	Expect(n.Shell(ctx, `nft -f - <<'END'
table inet noudp {
	chain in { type filter hook input priority 0; meta l4proto udp counter drop; }
	chain out { type filter hook output priority 0; meta l4proto udp counter drop; }
}
END`)).To(ExitWith(0))
	DeferCleanup(func(ctx SpecContext) { Expect(n.Exec(ctx, "nft", "delete", "table", "inet", "noudp")).To(ExitWith(0)) })
}

// Without UDP a host cannot register: registration over TCP is for the Pro server. So no way leads to it, whatever the NATs.
// One kind is part of every run: it takes the half minute until the server takes the host for offline.
func (m *matrix) blockedSpec(host side) {
	labels := Label(exhaustive)
	if host.name == "symmetric" {
		labels = Label()
	}
	It("is not reached at all when it may send no UDP (R24)", labels, func(ctx SpecContext) {
		m.blockUDP(ctx, m.desk)
		Eventually(ctx, m.listed).WithContext(ctx).Within(40 * time.Second).ProbeEvery(time.Second).Should(BeFalse())
		began := clock(ctx, m.server)
		for _, client := range sides() {
			m.put(ctx, "a", client)
			for _, forced := range []bool{false, true} {
				Expect(m.connect(ctx, rustdesk.Connection{ForceRelay: forced}).Error).To(ContainSubstring("Remote desktop is offline"))
				m.rows = append(m.rows, fmt.Sprintf("| %s, no UDP | %s | %s | none | |", host.name, client.name, word(forced, "forced", "if needed")))
			}
		}
		Expect(m.since(ctx, began, "PunchHoleSent", "RelayResponse", "relay-waits")).To(BeEmpty())
	}, NodeTimeout(5*time.Minute))
}
