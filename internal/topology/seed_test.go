package topology_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// The two files seed-*.yaml are the users' own, byte for byte: they must load as they are.

func TestSeedDefinitionLoads(t *testing.T) {
	g := NewWithT(t)
	seed, err := topology.Load("testdata/good/seed-definition.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seed.Metadata).To(Equal(topology.Metadata{
		Name: "ionChannel-test", Description: "Test VM for ionChannel + RustDesk", Version: "1.0",
	}))
	g.Expect(seed.Networks).To(HaveLen(1))
	g.Expect(seed.Networks[0].Subnet.String()).To(Equal("192.168.122.0/24"))
	node, ok := seed.Node("test-vm")
	g.Expect(ok).To(BeTrue())
	g.Expect(node.Image).To(Equal("ubuntu-22.04-cloudimg"))
	g.Expect(node.Env).To(Equal(map[string]string{"RUSTDESK_AUTO_START": "true"}))
	g.Expect(node.Packages).To(Equal([]string{"build-essential", "openssh-server", "rustdesk"}))
	want := topology.Impairment{Delay: 10 * time.Millisecond, LossPercent: 0.1}
	g.Expect(node.Links).To(HaveLen(1))
	g.Expect(node.Links[0].Conditions).To(Equal(topology.Conditions{Egress: want, Ingress: want}))
}

func TestSeedRustDeskLoads(t *testing.T) {
	g := NewWithT(t)
	seed, err := topology.Load("testdata/good/seed-rustdesk.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seed.Metadata.Tags).To(Equal([]string{"ionChannel", "rustdesk", "wayland", "cosmic"}))
	node, ok := seed.Node("test-vm")
	g.Expect(ok).To(BeTrue())
	g.Expect(node.MemoryMB).To(Equal(4096))
	g.Expect(node.VCPUs).To(Equal(2))
	g.Expect(node.CloudInit.User).To(Equal("iontest"))
	g.Expect(node.CloudInit.Password).To(Equal("iontest"))
	g.Expect(node.CloudInit.RunCmd).To(Equal([]topology.Command{
		{Shell: "systemctl enable ssh"}, {Shell: "systemctl start ssh"}, {Shell: "rustdesk --install-service"},
	}))
	g.Expect(node.Packages).To(ContainElements("rustdesk", "libpipewire-0.3-dev"))
	g.Expect(node.Deploy).To(HaveLen(2))
	g.Expect(node.Deploy[0].Src).To(HavePrefix("/"))
	g.Expect(node.Deploy[0].Src).To(HaveSuffix("/testdata/good/ionChannel/target/release/ion-portal"))
	g.Expect(node.Deploy[0].Dest).To(Equal("/usr/local/bin/ion-portal"))
	g.Expect(node.Links[0].Conditions.Ingress.RateKbps).To(Equal(100000.0))
	g.Expect(seed.CheckSources()).To(MatchError(And(
		MatchRegexp(`seed-rustdesk\.yaml:39:14: nodes\[0\]\.deploy\[0\]\.src: "/.*/ion-portal" does not exist`),
		MatchRegexp(`seed-rustdesk\.yaml:41:14: nodes\[0\]\.deploy\[1\]\.src: "/.*/ion-compositor" does not exist`))))
}
