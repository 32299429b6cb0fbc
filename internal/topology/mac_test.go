package topology_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

// rustdeskID is how RustDesk derives its id from a MAC address.
func rustdeskID(mac []byte) uint32 { return binary.BigEndian.Uint32(mac[2:]) & 0x1fffffff }

func TestMACAddresses(t *testing.T) {
	g := NewWithT(t)
	ids := map[uint32]bool{}
	parsed := parse(g, `
metadata: {name: macs}
networks: [{name: a, subnet: 10.1.0.0/24}, {name: b, subnet: 10.2.0.0/24}]
nodes: [{name: n, count: 64, networks: [a, b]}]`)
	for _, node := range parsed.Nodes {
		for _, link := range node.Links {
			g.Expect(link.MAC).To(HaveLen(6))
			g.Expect(link.MAC[:2]).To(BeEquivalentTo("\x52\x54"))
			g.Expect(link.MAC[0]&0x03).To(BeEquivalentTo(0x02), "not locally administered unicast")
			id := rustdeskID(link.MAC)
			g.Expect(fmt.Sprint(id)).To(HaveLen(9), link.MAC.String())
			g.Expect(ids).NotTo(HaveKey(id), "RustDesk id given out twice")
			ids[id] = true
		}
	}
	g.Expect(ids).To(HaveLen(128))
}

func TestMACAddressesAreStable(t *testing.T) {
	g := NewWithT(t)
	mac := func(yaml, node string) string {
		found, ok := parse(g, yaml).Node(node)
		g.Expect(ok).To(BeTrue())
		return found.Links[0].MAC.String()
	}
	const first = "52:54:5e:36:03:0c"
	g.Expect(mac("metadata: {name: t}\nnodes: [{name: a}, {name: b}]", "a")).To(Equal(first))
	g.Expect(mac("metadata: {name: t}\nnodes: [{name: b, vcpus: 2}, {name: a}]", "a")).To(Equal(first), "other nodes must not matter")
	g.Expect(mac("metadata: {name: t}\nnodes: [{name: a}, {name: b}]", "b")).NotTo(Equal(first))
	g.Expect(mac("metadata: {name: u}\nnodes: [{name: a}]", "a")).NotTo(Equal(first), "the topology must matter")
}
