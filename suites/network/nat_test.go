package network_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// kind is one of the usual kinds of NAT, with its name and what RFC 4787 calls its behaviours.
type kind struct {
	name               string
	nat                labtest.NAT
	mapping, filtering string
}

const (
	endpointIndependent = "Endpoint Independent"
	addressDependent    = "Address Dependent"
	portDependent       = "Address and Port Dependent"
)

func kinds() []kind {
	return []kind{
		{"full-cone", labtest.FullCone(), endpointIndependent, endpointIndependent},
		{"restricted-cone", labtest.RestrictedCone(), endpointIndependent, addressDependent},
		{"port-restricted-cone", labtest.PortRestrictedCone(), endpointIndependent, portDependent},
		{"symmetric", labtest.Symmetric(), portDependent, portDependent},
	}
}

// opens tells whether two sides behind such NATs get through to each other, once each has sent to the address that a
// server saw of the other (RFC 5128, 3.3): they do unless one side's packets come from an address that the other's filter
// has not seen. A symmetric NAT sends from another port than the server saw, which only a filter of ports minds.
func opens(a, b kind) bool {
	minds := func(sender, receiver kind) bool {
		return sender.mapping != endpointIndependent && receiver.filtering == portDependent
	}
	return !minds(a, b) && !minds(b, a)
}

var _ = Describe("Two sites behind NAT", Ordered, ContinueOnFailure, SpecPriority(2), Label("vm", "network", "nat"), func() {
	const stun, meeting = "203.0.113.50", "203.0.113.50:7000"
	var (
		lab                *labtest.Lab
		alice, bob, server *labtest.Node
	)

	BeforeAll(func(ctx SpecContext) {
		lab = labtest.Start(ctx, "../../topologies/nat-matrix.yaml")
		alice, bob, server = lab.Node("alice"), lab.Node("bob"), lab.Node("server")
		for _, node := range []*labtest.Node{alice, bob, server} {
			Expect(node.Deploy(ctx, punch)).To(Succeed())
		}
		_, err := server.Start(ctx, labtest.Cmd{Argv: []string{"punch", "serve", "-server", ":7000"}})
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, server.Exec).WithArguments("systemctl", "is-active", "coturn").Within(time.Minute).Should(ExitWith(0))
	}, NodeTimeout(30*time.Minute))

	setNAT := func(ctx context.Context, router string, nat labtest.NAT) {
		GinkgoHelper()
		Expect(lab.Router(router).SetNAT(ctx, nat)).To(Succeed())
	}

	DescribeTable("are judged by an RFC 5780 client of Debian's", func(ctx SpecContext, mapping, filtering labtest.Behaviour) {
		nat := labtest.FullCone()
		nat.Mapping, nat.Filtering = mapping, filtering
		setNAT(ctx, "gw-a", nat)
		names := map[labtest.Behaviour]string{
			labtest.EndpointIndependent: endpointIndependent, labtest.AddressDependent: addressDependent,
			labtest.AddressAndPortDependent: portDependent,
		}
		res, err := alice.Exec(ctx, "turnutils_natdiscovery", "-m", "-f", stun)
		Expect(err).NotTo(HaveOccurred())
		AddReportEntry("natdiscovery", res.Stdout())
		Expect(res).To(OutputContaining("NAT with " + names[mapping] + " Mapping!"))
		Expect(res).To(OutputContaining("NAT with " + names[filtering] + " Filtering!"))
	},
		func(mapping, filtering labtest.Behaviour) string {
			return fmt.Sprintf("mapping %s, filtering %s", mapping, filtering)
		},
		Entry(nil, labtest.EndpointIndependent, labtest.EndpointIndependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.EndpointIndependent, labtest.AddressDependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.EndpointIndependent, labtest.AddressAndPortDependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.AddressDependent, labtest.EndpointIndependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.AddressDependent, labtest.AddressDependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.AddressDependent, labtest.AddressAndPortDependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.AddressAndPortDependent, labtest.EndpointIndependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.AddressAndPortDependent, labtest.AddressDependent, NodeTimeout(2*time.Minute)),
		Entry(nil, labtest.AddressAndPortDependent, labtest.AddressAndPortDependent, NodeTimeout(2*time.Minute)),
	)

	DescribeTable("have the behaviours of their kind", func(ctx SpecContext, name string) {
		for _, k := range kinds() {
			if k.name != name {
				continue
			}
			setNAT(ctx, "gw-a", k.nat)
			res, err := alice.Exec(ctx, "turnutils_natdiscovery", "-m", "-f", stun)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry("natdiscovery", res.Stdout())
			Expect(res).To(OutputContaining("NAT with " + k.mapping + " Mapping!"))
			Expect(res).To(OutputContaining("NAT with " + k.filtering + " Filtering!"))
			return
		}
		Fail("no such kind")
	},
		Entry(nil, "full-cone", NodeTimeout(2*time.Minute)),
		Entry(nil, "restricted-cone", NodeTimeout(2*time.Minute)),
		Entry(nil, "port-restricted-cone", NodeTimeout(2*time.Minute)),
		Entry(nil, "symmetric", NodeTimeout(2*time.Minute)),
	)

	It("hairpin when told so, and not otherwise", func(ctx SpecContext) {
		for _, hairpin := range []bool{true, false} {
			nat := labtest.FullCone()
			nat.Hairpin = hairpin
			setNAT(ctx, "gw-a", nat)
			res, err := alice.Exec(ctx, "turnutils_natdiscovery", "-H", stun)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(fmt.Sprintf("hairpin %t", hairpin), res.Stdout()+res.Stderr())
			Expect(strings.Contains(res.Stdout(), "successful hairpinning")).To(Equal(hairpin), res.Stdout())
		}
	}, NodeTimeout(2*time.Minute))

	It("forget a mapping after its time, and not before", func(ctx SpecContext) {
		for timer, kept := range map[string]bool{"3": true, "10": false} {
			nat := labtest.Symmetric() // draws another port for a new mapping
			nat.Mapping, nat.UDPTimeout = labtest.EndpointIndependent, 6*time.Second
			setNAT(ctx, "gw-a", nat)
			res, err := alice.Exec(ctx, "turnutils_natdiscovery", "-t", "-T", timer, stun)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry("after "+timer+" s", res.Stdout()+res.Stderr())
			// The server answers to the mapping from before, after that time.
			Expect(strings.Contains(res.Stdout(), "receive timeout")).To(Equal(!kept), res.Stdout())
		}
	}, NodeTimeout(2*time.Minute))

	It("let machines meet or not, exactly as theory says", func(ctx SpecContext) {
		table := "UDP / TCP"
		for _, b := range kinds() {
			table += fmt.Sprintf("\t%s", b.name)
		}
		for _, a := range kinds() {
			table += "\n" + a.name
			for _, b := range kinds() {
				setNAT(ctx, "gw-a", a.nat)
				setNAT(ctx, "gw-b", b.nat)
				ours, theirs := meet(ctx, alice, bob, meeting, a.name+" "+b.name)
				table += fmt.Sprintf("\t%s / %s", word(ours.UDP.OK), word(ours.TCP.OK))
				for protocol, pair := range map[string][2]outcome{"UDP": {ours.UDP, theirs.UDP}, "TCP": {ours.TCP, theirs.TCP}} {
					for side, got := range pair {
						Expect(got.Err).To(BeEmpty(), "%s, %s and %s, side %d", protocol, a.name, b.name, side)
						Expect(got.OK).To(Equal(opens(a, b)), "%s, %s and %s, side %d: %+v", protocol, a.name, b.name, side, got)
					}
				}
			}
		}
		AddReportEntry("holes", table)
	}, NodeTimeout(15*time.Minute))

	It("show the mappings that they have", func(ctx SpecContext) {
		setNAT(ctx, "gw-a", labtest.PortRestrictedCone())
		Expect(alice.Shell(ctx, "echo hello > /dev/udp/203.0.113.50/9")).To(ExitWith(0))
		Expect(lab.Router("gw-a").Mappings()).To(ContainElement(HaveField("Inside.Addr()", alice.Addr("site-a"))))
	}, NodeTimeout(time.Minute))

	It("let nothing in that nobody asked for, except by a port forward", func(ctx SpecContext) {
		setNAT(ctx, "gw-a", labtest.PortRestrictedCone())
		Expect(server.CheckPort(ctx, "203.0.113.11:2222")).NotTo(BeReachable())
		nat := labtest.PortRestrictedCone()
		nat.Forwards = []labtest.Forward{{Protocol: "tcp", Port: 2222, To: netip.MustParseAddrPort("192.168.10.5:22")}}
		setNAT(ctx, "gw-a", nat)
		Expect(server.CheckPort(ctx, "203.0.113.11:2222")).To(BeReachable())
	}, NodeTimeout(2*time.Minute))

	It("drop what comes from outside with a firewall, whatever the NAT", func(ctx SpecContext) {
		setNAT(ctx, "gw-a", labtest.FullCone())
		Expect(lab.Router("gw-a").SetFirewall(ctx, labtest.DropInbound)).To(Succeed())
		res, err := alice.Exec(ctx, "turnutils_natdiscovery", "-f", stun)
		Expect(err).NotTo(HaveOccurred())
		Expect(res).To(OutputContaining("NAT with " + portDependent + " Filtering!"))
	}, NodeTimeout(2*time.Minute))
})

// side is what `punch try` prints.
type side struct{ UDP, TCP outcome }

type outcome struct {
	Seen, Told, From string
	OK               bool
	Err              string
}

// meet has two machines try to reach each other at the same time.
func meet(ctx context.Context, a, b *labtest.Node, server, session string) (left, right side) {
	GinkgoHelper()
	var wg sync.WaitGroup
	var errs [2]error
	for i, one := range []struct {
		node *labtest.Node
		out  *side
	}{{a, &left}, {b, &right}} {
		wg.Go(func() {
			res, err := one.node.Exec(ctx, "punch", "try", "-server", server, "-session", session, "-for", "4s")
			if err == nil {
				err = json.Unmarshal([]byte(res.Stdout()), one.out)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	Expect(errs[0]).NotTo(HaveOccurred())
	Expect(errs[1]).NotTo(HaveOccurred())
	return left, right
}

func word(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}
