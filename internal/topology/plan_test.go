package topology_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// TestGood holds the whole plan of every good file against its golden file.
func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(files).NotTo(BeEmpty())
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			g := NewWithT(t)
			data, err := os.ReadFile(file)
			g.Expect(err).NotTo(HaveOccurred())
			parsed, err := topology.Parse(filepath.Join("/lab", name), data)
			g.Expect(err).NotTo(HaveOccurred())
			expectInvariants(g, parsed)
			golden(g, strings.TrimSuffix(file, ".yaml")+".golden.txt", outline(parsed))
		})
	}
}

// outline writes a topology out for reading.
func outline(t *topology.Topology) string {
	var b strings.Builder
	fmt.Fprintf(&b, "file %s in %s, digest %s, seed %d\nmetadata %+v\n", t.File, t.Dir, t.Digest, t.Seed, t.Metadata)
	for _, n := range t.Networks {
		fmt.Fprintf(&b, "network %s %s gateway %s control %s internet %t mtu %d capture %t\n",
			n.Name, n.Subnet, n.Gateway, n.Control, n.Internet, n.MTU, n.Capture)
		fmt.Fprintf(&b, "  default via %s, reaches %s\n", n.DefaultVia, n.Reaches)
		fmt.Fprintf(&b, "  conditions %+v\n", n.Conditions)
	}
	for _, r := range t.Routers {
		outlineRouter(&b, r)
	}
	for _, n := range t.Nodes {
		fmt.Fprintf(&b, "node %s of %s\n", n.Name, n.Base)
		fmt.Fprintf(&b, "  image %s, memory %d MiB, %d vcpus, disk %d MiB\n", n.Image, n.MemoryMB, n.VCPUs, n.DiskMB)
		fmt.Fprintf(&b, "  env %q\n  packages %q\n  metadata %q\n", n.Env, n.Packages, n.Metadata)
		c := n.CloudInit
		fmt.Fprintf(&b, "  cloud-init user %q password %q packages %q\n", c.User, c.Password, c.Packages)
		fmt.Fprintf(&b, "    keys %q runcmd %+v\n", c.SSHAuthorizedKeys, c.RunCmd)
		fmt.Fprintf(&b, "    user-data %q\n", c.UserData)
		for _, f := range c.WriteFiles {
			fmt.Fprintf(&b, "    file %s %q %s %s %s append %t\n", f.Path, f.Content, f.Permissions, f.Owner, f.Encoding, f.Append)
		}
		for _, d := range n.Deploy {
			fmt.Fprintf(&b, "  deploy %s to %s, %s, %s\n", d.Src, d.Dest, d.Mode, d.Owner)
		}
		for _, p := range n.Ports {
			fmt.Fprintf(&b, "  port %s\n", p)
		}
		for _, l := range n.Links {
			fmt.Fprintf(&b, "  link %s %s %s gateway %s routes %v\n    conditions %+v\n",
				l.Network, l.Addr, l.MAC, l.Gateway, l.Routes, l.Conditions)
		}
	}
	return b.String()
}

func outlineRouter(b *strings.Builder, r topology.Router) {
	n := r.NAT
	fmt.Fprintf(b, "router %s\n  nat %s: %q %q ports %q hairpin %t udp %s tcp %s forwards %s\n  firewall %s\n", r.Name,
		n, n.Mapping, n.Filtering, n.Ports, n.Hairpin, n.UDPTimeout, n.TCPTimeout, n.Forwards, r.Firewall)
	for _, i := range []topology.Interface{r.Inside, r.Outside} {
		fmt.Fprintf(b, "  port %s %s %s routes %v\n    conditions %+v\n", i.Network, i.Addr, i.MAC, i.Routes, i.Conditions)
	}
}

// expectInvariants checks what every topology promises, whatever the file.
func expectInvariants(g *WithT, t *topology.Topology) {
	g.Expect(t.Nodes).NotTo(BeEmpty())
	g.Expect(t.Networks).NotTo(BeEmpty())
	g.Expect(t.Digest).To(HaveLen(64))
	macs, names, addrs := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}
	for _, network := range t.Networks {
		for _, addr := range []netip.Addr{
			network.Gateway, network.Control, network.Subnet.Addr(), lastOf(network.Subnet),
		} {
			g.Expect(addrs).NotTo(HaveKey(addr), "in two networks")
			g.Expect(network.Subnet.Contains(addr)).To(BeTrue())
			addrs[addr] = true
		}
	}
	port := func(name string, addr netip.Prefix, mac net.HardwareAddr, routes []topology.Route) {
		network, ok := t.Network(name)
		g.Expect(ok).To(BeTrue())
		g.Expect(addr.Bits()).To(Equal(network.Subnet.Bits()))
		g.Expect(network.Subnet.Contains(addr.Addr())).To(BeTrue())
		g.Expect(addrs).NotTo(HaveKey(addr.Addr()), "address given out twice")
		addrs[addr.Addr()] = true
		g.Expect(macs).NotTo(HaveKey(mac.String()), "MAC address given out twice")
		macs[mac.String()] = true
		for _, route := range routes {
			g.Expect(network.Subnet.Contains(route.Via)).To(BeTrue(), "the next hop is not on the link")
			g.Expect(route.Via).NotTo(Equal(addr.Addr()), "the next hop is the machine itself")
			g.Expect(route.To).NotTo(Equal(network.Subnet), "a route to what is on the link")
		}
	}
	for _, node := range t.Nodes {
		g.Expect(names).NotTo(HaveKey(strings.ToLower(node.Name)))
		names[strings.ToLower(node.Name)] = true
		g.Expect(node.Links).NotTo(BeEmpty())
		g.Expect(node.Env).NotTo(BeNil())
		g.Expect(node.Metadata).NotTo(BeNil())
		for i, link := range node.Links {
			port(link.Network, link.Addr, link.MAC, link.Routes)
			g.Expect(link.Gateway.IsValid()).To(Equal(i == 0))
			g.Expect(i > 0 || link.Addr.Contains(link.Gateway)).To(BeTrue())
		}
	}
	for _, router := range t.Routers {
		g.Expect(names).NotTo(HaveKey(strings.ToLower(router.Name)))
		names[strings.ToLower(router.Name)] = true
		port(router.Inside.Network, router.Inside.Addr, router.Inside.MAC, router.Inside.Routes)
		port(router.Outside.Network, router.Outside.Addr, router.Outside.MAC, router.Outside.Routes)
	}
}

func lastOf(subnet netip.Prefix) netip.Addr {
	base := subnet.Addr().As4()
	for bit := subnet.Bits(); bit < 32; bit++ {
		base[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(base)
}

func parse(g *WithT, yaml string) *topology.Topology {
	parsed, err := topology.Parse("/lab/test.yaml", []byte(yaml))
	g.Expect(err).NotTo(HaveOccurred())
	return parsed
}

// addresses returns the address of each node on its first network.
func addresses(t *topology.Topology) []string {
	var addrs []string
	for _, node := range t.Nodes {
		addrs = append(addrs, node.Name+" "+node.Links[0].Addr.String())
	}
	return addrs
}

func TestAddressPlan(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"no network": {
			"nodes: [{name: a}, {name: b}]",
			[]string{"a 10.13.0.10/24", "b 10.13.0.11/24"},
		},
		"chosen addresses are skipped, even those of later nodes": {
			`network: {name: lan, subnet: 10.1.0.0/24}
nodes: [{name: a}, {name: b}, {name: c, networks: [{name: LAN, ip: 10.1.0.11}]}, {name: d, networks: [{name: lan, ip: 10.1.0.2}]}]`,
			[]string{"a 10.1.0.10/24", "b 10.1.0.12/24", "c 10.1.0.11/24", "d 10.1.0.2/24"},
		},
		"a small subnet begins at its first free address": {
			`network: {name: lan, subnet: 10.1.0.8/29}
nodes: [{name: a, count: 4}]`,
			[]string{"a-1 10.1.0.10/29", "a-2 10.1.0.11/29", "a-3 10.1.0.12/29", "a-4 10.1.0.13/29"},
		},
		"the low addresses come last": {
			`network: {name: lan, subnet: 10.1.0.0/27}
nodes: [{name: a, count: 20}, {name: b}, {name: c}]`,
			[]string{
				"a-1 10.1.0.10/27", "a-2 10.1.0.11/27", "a-3 10.1.0.12/27", "a-4 10.1.0.13/27", "a-5 10.1.0.14/27",
				"a-6 10.1.0.15/27", "a-7 10.1.0.16/27", "a-8 10.1.0.17/27", "a-9 10.1.0.18/27", "a-10 10.1.0.19/27",
				"a-11 10.1.0.20/27", "a-12 10.1.0.21/27", "a-13 10.1.0.22/27", "a-14 10.1.0.23/27", "a-15 10.1.0.24/27",
				"a-16 10.1.0.25/27", "a-17 10.1.0.26/27", "a-18 10.1.0.27/27", "a-19 10.1.0.28/27", "a-20 10.1.0.29/27",
				"b 10.1.0.2/27", "c 10.1.0.3/27",
			},
		},
		"a count of one is numbered too": {
			"nodes: [{name: a, count: 1.0}]",
			[]string{"a-1 10.13.0.10/24"},
		},
		"the largest subnet": {
			`network: {name: lan, subnet: 10.0.0.0/8}
nodes: [{name: a}]`,
			[]string{"a 10.0.0.10/8"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(addresses(parse(g, c.yaml))).To(Equal(c.want))
		})
	}
}

func TestReservedAddresses(t *testing.T) {
	g := NewWithT(t)
	network := parse(g, "network: {name: lan, subnet: 10.1.2.64/26}\nnodes: [{name: a}]").Networks[0]
	g.Expect(network.Gateway.String()).To(Equal("10.1.2.65"))
	g.Expect(network.Control.String()).To(Equal("10.1.2.126"))
}

func TestDigestSeesContentOnly(t *testing.T) {
	g := NewWithT(t)
	const file = "metadata: {name: t}\nnodes: [{name: a, image: ./i.raw, deploy: [{src: ./x, dest: /x}]}]"
	one := parse(g, file)
	same, err := topology.Parse("/elsewhere/other.yaml", []byte("# comment\nnodes:\n  - deploy: [{dest: /x, src: ./x}]\n    image: ./i.raw\n    name: a\nmetadata: {name: t}"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(same.Digest).To(Equal(one.Digest))
	g.Expect(parse(g, strings.Replace(file, "src: ./x", "src: ./y", 1)).Digest).NotTo(Equal(one.Digest))
	g.Expect(parse(g, strings.Replace(file, "name: a", "name: b", 1)).Digest).NotTo(Equal(one.Digest))
}

func TestLookups(t *testing.T) {
	g := NewWithT(t)
	parsed := parse(g, "nodes: [{name: Alice}]")
	node, ok := parsed.Node("alice")
	g.Expect(ok).To(BeTrue())
	g.Expect(node).To(BeIdenticalTo(&parsed.Nodes[0]))
	_, ok = parsed.Node("bob")
	g.Expect(ok).To(BeFalse())
	_, ok = parsed.Network("lan")
	g.Expect(ok).To(BeTrue())
	_, ok = parsed.Network("wan")
	g.Expect(ok).To(BeFalse())
}

func TestNameOfFile(t *testing.T) {
	for file, want := range map[string]string{
		"x/quickstart.yaml":               "quickstart",
		"two_sites.v2.yaml":               "two-sites-v2",
		"---.yaml":                        "topology",
		"":                                "topology",
		strings.Repeat("a", 80) + ".yaml": strings.Repeat("a", 63),
	} {
		t.Run(file, func(t *testing.T) {
			g := NewWithT(t)
			parsed, err := topology.Parse(file, []byte("nodes: [{name: a}]"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(parsed.Metadata.Name).To(Equal(want))
		})
	}
}
