package network_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"

	"ionlab/labtest"
	. "ionlab/matchers"
)

var _ = Describe("A switch", Ordered, ContinueOnFailure, Label("vm", "network", "frames"), func() {
	var alice, bob *labtest.Node

	BeforeAll(func(ctx SpecContext) {
		lab := labtest.Start(ctx, "../../topologies/jumbo.yaml")
		alice, bob = lab.Node("alice"), lab.Node("bob")
	}, NodeTimeout(20*time.Minute))

	It("passes jumbo frames whole", func(ctx SpecContext) {
		Expect(alice.Exec(ctx, "ping", "-c", "2", "-M", "do", "-s", "8972", bob.Addr("storage").String())).
			To(And(ExitWith(0), OutputContaining("8980 bytes from")))
		Expect(alice.Exec(ctx, "ping", "-c", "1", "-M", "do", "-s", "8973", bob.Addr("storage").String())).
			To(And(Not(ExitWith(0)), ErrorOutputContaining("too long")))
	}, NodeTimeout(time.Minute))

	It("passes IPv6, neighbour discovery included", func(ctx SpecContext) {
		dev, peer := device(ctx, alice), linkLocal(ctx, bob)
		Expect(alice.Exec(ctx, "ping", "-6", "-c", "2", peer+"%"+dev)).To(And(ExitWith(0), OutputContaining(" 0% packet loss")))
		Expect(alice.Exec(ctx, "ip", "-6", "neigh", "show", peer)).To(OutputContaining("lladdr " + hardware(ctx, bob, device(ctx, bob))))
	}, NodeTimeout(time.Minute))

	DescribeTable("passes what is meant for many", func(ctx SpecContext, family, target string) {
		listener, err := bob.Start(ctx, labtest.Cmd{Argv: []string{"python3", "-u", "-c", hear, family, target, device(ctx, bob)}})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(listener.Kill)
		Eventually(ctx, listener.Out).Within(30 * time.Second).Should(gbytes.Say("listening"))
		Expect(alice.Exec(ctx, "python3", "-c", tell, family, target, device(ctx, alice), "hello "+target)).To(ExitWith(0))
		Eventually(ctx, listener.Out).Within(10 * time.Second).Should(gbytes.Say("hello " + target + " from"))
	},
		Entry("mDNS over IPv4", "4", "224.0.0.251", NodeTimeout(time.Minute)),
		Entry("mDNS over IPv6", "6", "ff02::fb", NodeTimeout(time.Minute)),
		Entry("a broadcast", "4", "255.255.255.255", NodeTimeout(time.Minute)),
	)

	It("passes frames with VLAN tags, and keeps them apart by their tag", func(ctx SpecContext) {
		tagged := func(node *labtest.Node, tag, host int) {
			GinkgoHelper()
			Expect(node.Shell(ctx, fmt.Sprintf("ip link add link %s name vlan%[2]d type vlan id %[2]d && ip link set vlan%[2]d up &&"+
				" ip addr add 172.20.%[2]d.%[3]d/24 dev vlan%[2]d", device(ctx, node), tag, host))).To(ExitWith(0))
			DeferCleanup(node.Exec, "ip", "link", "del", fmt.Sprint("vlan", tag))
		}
		tagged(alice, 7, 1)
		tagged(alice, 8, 1)
		tagged(bob, 7, 2)
		Expect(alice.Exec(ctx, "ping", "-c", "2", "172.20.7.2")).To(And(ExitWith(0), OutputContaining(" 0% packet loss")))
		// Bob would answer for any address that is his, on whatever interface he is asked.
		Expect(bob.Exec(ctx, "ip", "addr", "add", "172.20.8.2/24", "dev", "vlan7")).To(ExitWith(0))
		Expect(alice.Exec(ctx, "ping", "-c", "1", "-W", "2", "172.20.8.2")).NotTo(ExitWith(0), "alice asks on VLAN 8, bob is on VLAN 7")
	}, NodeTimeout(time.Minute))

	It("follows a hardware address that moves", func(ctx SpecContext) {
		peer, moved := bob.Addr("storage").String(), "02:00:5e:10:00:01"
		holds := func(node *labtest.Node) {
			GinkgoHelper()
			Expect(node.Shell(ctx, "ip link add link "+device(ctx, node)+" name moved address "+moved+` type macvlan mode bridge &&
ip addr add 10.90.0.99/24 dev moved && ip link set moved up`)).To(ExitWith(0))
			DeferCleanup(node.Shell, "ip link del moved 2>/dev/null || true")
		}
		holds(alice)
		Expect(bob.Exec(ctx, "ping", "-c", "1", "-I", peer, "10.90.0.99")).To(ExitWith(0))
		Expect(alice.Exec(ctx, "ip", "link", "del", "moved")).To(ExitWith(0))
		holds(bob)
		Expect(bob.Exec(ctx, "ping", "-c", "1", "-I", "moved", alice.Addr("storage").String())).To(ExitWith(0))
		Expect(alice.Exec(ctx, "ip", "neigh", "show", "10.90.0.99")).To(OutputContaining(moved))
	}, NodeTimeout(time.Minute))

	It("outlives a flood of hardware addresses", func(ctx SpecContext) {
		Expect(alice.Run(ctx, labtest.Cmd{Argv: []string{"python3", "-c", flood, device(ctx, alice), "20000"}, Timeout: time.Minute})).
			To(OutputContaining("sent 20000"))
		Expect(alice.Ping(ctx, bob.Addr("storage").String())).To(BeReachable())
		Expect(bob.Ping(ctx, alice.Addr("storage").String())).To(BeReachable())
	}, NodeTimeout(2*time.Minute))
})

// device is the node's one network interface.
func device(ctx context.Context, node *labtest.Node) string {
	return field(ctx, node, "ip -o -4 addr show to "+node.Addr("storage").String()+" | awk '{print $2}'")
}

// linkLocal is the node's IPv6 address on its link.
func linkLocal(ctx context.Context, node *labtest.Node) string {
	return field(ctx, node, "ip -o -6 addr show scope link dev "+device(ctx, node)+" | awk '{sub(/\\/.*/, \"\", $4); print $4}'")
}

func hardware(ctx context.Context, node *labtest.Node, dev string) string {
	return field(ctx, node, "cat /sys/class/net/"+dev+"/address")
}

// field is what a script prints: one word.
func field(ctx context.Context, node *labtest.Node, script string) string {
	GinkgoHelper()
	res, err := node.Shell(ctx, script)
	Expect(err).NotTo(HaveOccurred())
	Expect(res).To(OutputMatching(`^\S+\n$`))
	return strings.TrimSpace(res.Stdout())
}

// Programs for the guests' Python. The first two take 4 or 6, a group or the broadcast address, and an interface.
const (
	hear = `
import socket, struct, sys
family, group, dev = sys.argv[1:]
index = socket.if_nametoindex(dev)
s = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5353))
if family == "6":
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack("@i", index))
elif group.startswith("224."):
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("@4s4si", socket.inet_aton(group), bytes(4), index))
print("listening")
while True:
    data, peer = s.recvfrom(2000)
    print(data.decode(), "from", peer[0])
`
	tell = `
import socket, struct, sys
family, group, dev, text = sys.argv[1:]
index = socket.if_nametoindex(dev)
s = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM)
if family == "6":
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
else:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, dev.encode())
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), index))
s.sendto(text.encode(), (group, 5353))
`
	flood = `
import os, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for n in range(int(sys.argv[2])):
    s.send(b"\xff" * 6 + b"\x02" + n.to_bytes(5, "big") + b"\x88\xb5" + bytes(46))
print("sent", n + 1)
`
)
