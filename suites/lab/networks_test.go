package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

var _ = Describe("Three machines on two networks", Ordered, ContinueOnFailure, Label("vm", "networks"), func() {
	var left, middle, right *labtest.Node

	BeforeAll(func(ctx SpecContext) {
		lab := labtest.Start(ctx, "../../topologies/two-networks.yaml")
		left, middle, right = lab.Node("left"), lab.Node("middle"), lab.Node("right")
	}, NodeTimeout(20*time.Minute))

	It("lets machines of one network reach each other by name", func(ctx SpecContext) {
		Expect(left.Exec(ctx, "getent", "ahostsv4", "middle")).To(And(ExitWith(0), OutputContaining("10.81.0.50")))
		Expect(right.Exec(ctx, "getent", "ahostsv4", "middle")).To(And(ExitWith(0), OutputContaining("10.82.0.50")))
		for _, pair := range []struct {
			from *labtest.Node
			to   string
		}{{left, "middle"}, {right, "middle"}, {middle, "left"}, {middle, "right"}, {middle, "right.east"}} {
			Expect(pair.from.Exec(ctx, "ping", "-c", "2", "-W", "5", pair.to)).
				To(And(ExitWith(0), OutputContaining(" 0% packet loss")), pair.from.Name()+" to "+pair.to)
		}
	}, NodeTimeout(2*time.Minute))

	It("carries TCP between them, seen by the other side", func(ctx SpecContext) {
		server, err := middle.Start(ctx, labtest.Cmd{Argv: []string{"python3", "-c", listener}})
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(say("listening"))
		Expect(left.Exec(ctx, "bash", "-c", "echo from left > /dev/tcp/middle/9999")).To(ExitWith(0))
		Eventually(ctx, server.Out).Within(30 * time.Second).Should(say(left.Addr("west").String() + " sent from left"))
	}, NodeTimeout(2*time.Minute))

	It("keeps machines apart that share no network", func(ctx SpecContext) {
		Expect(left.Exec(ctx, "getent", "ahostsv4", "right")).To(ExitWith(2), "its name is not known")
		Expect(left.Exec(ctx, "ping", "-c", "2", "-W", "5", right.Addr("east").String())).
			To(And(ExitWith(1), OutputContaining("100% packet loss"), OutputContaining("Packet filtered")))
	}, NodeTimeout(2*time.Minute))

	It("answers a packet to the outside with an ICMP error, and lets nothing out", func(ctx SpecContext) {
		began := time.Now()
		Expect(left.Exec(ctx, "ping", "-c", "2", "-W", "5", "192.0.2.1")).
			To(And(ExitWith(1), OutputContaining("From 10.81.0.1"), OutputContaining("Packet filtered")))
		Expect(left.Shell(ctx, "exec 3<>/dev/tcp/192.0.2.1/80")).To(And(Not(ExitWith(0)), ErrorOutputContaining("No route to host")))
		Expect(left.Exec(ctx, "getent", "hosts", "example.org")).To(ExitWith(2))
		Expect(time.Since(began)).To(BeNumerically("<", time.Minute), "no wait ran into its time-out")
		Expect(internetSockets()).To(BeEmpty(), "sockets of this process and its children that reach past loopback")
	}, NodeTimeout(2*time.Minute))

	It("gives the middle a port on each network, with its own MAC", func(ctx SpecContext) {
		Expect(middle.Addr("west").String()).To(Equal("10.81.0.50"))
		Expect(middle.Shell(ctx, "ip -4 -o addr show scope global | wc -l")).To(OutputMatching(`^2\n$`))
		Expect(middle.Shell(ctx, "cat /sys/class/net/en*/address | sort -u | wc -l")).To(OutputMatching(`^2\n$`))
	}, NodeTimeout(time.Minute))

	It("gives machines of one image names, ids and keys of their own", func(ctx SpecContext) {
		seen := map[string]string{}
		for _, node := range []*labtest.Node{left, middle, right} {
			res, err := node.Shell(ctx, "cat /etc/machine-id /sys/class/dmi/id/product_uuid /etc/ssh/ssh_host_ed25519_key.pub")
			Expect(err).NotTo(HaveOccurred())
			Expect(res).To(ExitWith(0))
			for line := range strings.Lines(res.Stdout()) {
				Expect(seen).NotTo(HaveKey(line), "shared by "+node.Name()+" and "+seen[line])
				seen[line] = node.Name()
			}
		}
		Expect(seen).To(HaveLen(9))
	}, NodeTimeout(time.Minute))
})

// listener prints who sent what to port 9999.
const listener = `
import socket
s = socket.create_server(("", 9999))
print("listening", flush=True)
while True:
    c, peer = s.accept()
    print(peer[0], "sent", c.recv(100).decode().strip(), flush=True)
`

// internetSockets lists the TCP and UDP sockets that this process and all below it have to anywhere but loopback.
func internetSockets() []string {
	GinkgoHelper()
	inodes := map[string]bool{}
	for pid := range family() {
		links, _ := filepath.Glob("/proc/" + pid + "/fd/*")
		for _, link := range links {
			target, err := os.Readlink(link)
			if inode, ok := strings.CutPrefix(target, "socket:["); ok && err == nil {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	Expect(len(inodes)).To(BeNumerically(">", 6), "the sockets of libvirtd, QEMU and the fabric are seen")
	var found []string
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"} {
		data, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			continue // no such protocol in this kernel
		}
		for line := range strings.Lines(string(data)) {
			if hit := mine(strings.Fields(line), inodes); hit != "" {
				found = append(found, table+" "+hit)
			}
		}
	}
	return found
}

// mine returns local and remote address of a socket in inodes that is not on loopback; 0100007F is 127.0.0.1.
func mine(fields []string, inodes map[string]bool) string {
	for i, field := range fields {
		if i < 4 || !inodes[field] {
			continue
		}
		if strings.HasPrefix(fields[1], "0100007F:") || strings.HasSuffix(strings.SplitN(fields[1], ":", 2)[0], "00000000000000000000000001000000") {
			return ""
		}
		return fields[1] + " " + fields[2]
	}
	return ""
}
