package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/domain"
	"ionlab/internal/guest"
)

func TestStartBringsNodesToReady(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	g.Expect(b.ID()).To(BeEmpty())
	g.Expect(b.Took()).To(BeZero())
	b.up()
	g.Expect(b.ID()).To(MatchRegexp(`^[0-9a-f]{6}$`))
	g.Expect(b.Took()).To(BeNumerically(">", 0))
	g.Expect(b.Accelerator()).To(Equal("tcg"))
	for _, node := range b.Nodes() {
		text, since := node.Status()
		g.Expect(text).To(Equal("ready"))
		g.Expect(since).To(BeTemporally("~", time.Now(), patience))
		var stages []string
		for _, stage := range node.Stages() {
			stages = append(stages, stage.Stage)
		}
		g.Expect(stages).To(Equal([]string{"kernel", "sshd", "login", "cloud-init", "units"}))
		client, err := node.Guest()
		g.Expect(err).NotTo(HaveOccurred())
		res, err := client.Run(within(t), guest.Cmd{Argv: []string{"printf", "%s", "really run"}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Stdout()).To(Equal("really run"))
		g.Expect(node.ConsoleLines(10)).To(ContainElement(ContainSubstring("Linux version 6.1.0 (fake)")))
	}
	g.Expect(b.host.overlays).To(ConsistOf(MatchRegexp(`^alice.qcow2 \d+$`), MatchRegexp(`^bob.qcow2 \d+$`)))
	g.Expect(files(t, b.cfg.Dirs)).To(ConsistOf(b.ID(), b.ID()))
}

func TestStartTellsWhatItDoes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	told := b.told()
	g.Expect(told).To(ContainElements(
		"alice: image debian-12", "bob: image debian-12", "alice: image debian-12: download",
		": accelerator tcg: this host is fake",
		"alice: waiting for kernel", "bob: waiting for sshd", "bob: waiting for login",
		"alice: waiting for cloud-init", "bob: waiting for units", "alice: ready", "bob: ready",
	))
	g.Expect(told[len(told)-1]).To(MatchRegexp(`^: lab ready 2 nodes in [0-9.]+m?s$`))
	for _, e := range b.events {
		g.Expect(e.Time).NotTo(BeZero())
		if strings.HasSuffix(e.Stage, "download") {
			g.Expect([]int64{e.Done, e.Total}).To(Equal([]int64{1, 2}))
		}
	}
}

func TestDomainsAreLabelled(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	labels, err := domain.ParseLabels(b.host.machine(t, "bob").xml)
	g.Expect(err).NotTo(HaveOccurred())
	addr, err := b.node("bob").Addr(b.Topology().Networks[0].Name)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(labels).To(Equal(domain.Labels{
		Lab: b.ID(), Owner: "a test", Topology: "two", TopologyDigest: b.Topology().Digest, Node: "bob",
		Addresses: map[string]string{b.Topology().Networks[0].Name: addr.String()},
	}))
}

func TestUnknownNamesListTheKnown(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	_, err := b.Node("carol")
	g.Expect(err).To(MatchError(`lab "two" has no node "carol"; it has ["alice" "bob"]`))
	_, err = b.node("alice").Addr("wan")
	g.Expect(err).To(MatchError(MatchRegexp(`^node "alice" is not on a network "wan"; it is on \[".+"\]$`)))
	_, err = b.node("alice").HostAddr(80)
	g.Expect(err).To(MatchError(`port 80 of node "alice" is not forwarded: add it to the node's ports, as in "127.0.0.1:0:80"`))
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	cfg := newBench(t, one, nil).cfg
	for want, spoil := range map[string]func(*Config){
		"make lab: no topology": func(c *Config) { c.Topology = nil },
		"make lab: no host":     func(c *Config) { c.Host = nil },
		"make lab: no logger":   func(c *Config) { c.Log = nil },
	} {
		spoiled := cfg
		spoil(&spoiled)
		_, err := New(spoiled)
		g.Expect(err).To(MatchError(want))
	}
}

func TestPreflightRefusesBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"source": {
			"nodes: [{name: alice, deploy: [{src: /nonexistent/tool, dest: /usr/local/bin/tool}]}]",
			`"/nonexistent/tool" does not exist; build it first, or correct src`,
		},
		"image":  {"nodes: [{name: alice, image: plan-9}]", `"plan-9" is not an image of the catalog`},
		"memory": {"nodes: [{name: alice, memory_mb: 262144, count: 8}]", "MiB of memory together, the host has"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := newBench(t, test.text, nil)
			g.Expect(b.Start(within(t))).To(MatchError(And(HavePrefix("start lab "), ContainSubstring(test.want))))
			g.Expect(b.ID()).To(BeEmpty())
			g.Expect(files(t, b.cfg.Dirs)).To(BeEmpty())
			g.Expect(b.host.reached).To(BeEmpty(), "the host was asked for something")
		})
	}
}

func TestStartGivesFilesToTheAccountOfQEMU(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.cfg.Account = func() (*Account, error) { // ourselves: what anybody may give a file to
		return &Account{Name: "me", UID: os.Getuid(), GID: os.Getgid()}, nil
	}
	b.up()
	b.cfg.Account = func() (*Account, error) { return nil, errors.New("no user to run QEMU as") }
	other := newBench(t, one, nil)
	other.cfg.Account = b.cfg.Account
	g.Expect(other.Start(within(t))).To(MatchError("no user to run QEMU as"))
}

func TestStartFailsWithTheCauseOfTheHost(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		spoil func(*fakeHost)
		want  string
	}{
		"image":      {func(h *fakeHost) { h.failImage = broken }, `node "alice": image "debian-12": broken`},
		"hypervisor": {func(h *fakeHost) { h.failStart = broken }, "broken"},
		"overlay":    {func(h *fakeHost) { h.failOverlay = broken }, `node "alice": stage "disks": broken`},
		"create": {
			func(h *fakeHost) { h.failCreate = broken },
			"node \"alice\": stage \"domain\": broken\nhint: libvirt or QEMU refused to start the machine; `labtest doctor` checks both" +
				"\nlast lines of its console:\n    (nothing was printed)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := newBench(t, one, nil)
			test.spoil(b.host)
			err := b.Start(within(t))
			g.Expect(err).To(MatchError(broken))
			g.Expect(err.Error()).To(Equal(test.want))
		})
	}
}

func TestStartForwardsPorts(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, `nodes: [{name: alice, memory_mb: 128, ports: ["127.0.0.1:0:22"]}]`, nil)
	b.up()
	addr, err := b.node("alice").HostAddr(22)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(addr.Addr().String()).To(Equal("127.0.0.1"))
	g.Expect(b.told()).To(ContainElement(fmt.Sprintf("alice: port %s leads to port 22", addr)))
	g.Expect(banner(t, "tcp", addr.String())).To(HavePrefix("SSH-2.0-"))
	g.Expect(b.Close()).To(Succeed())
	_, err = dial(t, "tcp", addr.String())
	g.Expect(err).To(MatchError(ContainSubstring("refused")))
}

func TestStartNamesThePortThatIsTaken(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	taken := listenTCP(t)
	b := newBench(t, fmt.Sprintf(`nodes: [{name: alice, memory_mb: 128, ports: ["%s:22"]}]`, taken), nil)
	g.Expect(b.Start(within(t))).To(MatchError(And(
		HavePrefix(fmt.Sprintf(`node "alice": forward %s to port 22: `, taken)), ContainSubstring("address already in use"))))
}

func TestStartDeploys(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dir := t.TempDir()
	tool, tree, to := filepath.Join(dir, "tool"), filepath.Join(dir, "tree"), filepath.Join(dir, "guest")
	g.Expect(os.MkdirAll(filepath.Join(tree, "deep"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(tree, "deep", "leaf"), []byte("leaf"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(tool, []byte("#!/bin/sh\n"), 0o600)).To(Succeed())
	b := newBench(t, fmt.Sprintf("nodes: [{name: alice, memory_mb: 128, deploy: [{src: %s, dest: %s/bin/tool, mode: \"0750\"}, {src: %s, dest: %s/tree}]}]",
		tool, to, tree, to), nil)
	b.up()
	info, err := os.Stat(filepath.Join(to, "bin", "tool"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().String()).To(Equal("-rwxr-x---"))
	g.Expect(os.ReadFile(filepath.Join(to, "tree", "deep", "leaf"))).To(Equal([]byte("leaf")))
	g.Expect(b.told()).To(ContainElement(ContainSubstring("alice: deploy " + tool + " to ")))
}

func TestStartNamesTheDeployThatFails(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	tool := filepath.Join(t.TempDir(), "tool")
	g.Expect(os.WriteFile(tool, nil, 0o755)).To(Succeed())
	b := newBench(t, fmt.Sprintf("nodes: [{name: alice, memory_mb: 128, deploy: [{src: %s, dest: /dev/null/tool}]}]", tool), nil)
	g.Expect(b.Start(within(t))).To(MatchError(And(
		HavePrefix(`node "alice": stage "deploy": deploy `+tool+`: `), ContainSubstring("/dev/null/tool"))))
}

func TestStartNamesTheOwnerThatATreeCannotHave(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	tree, to := t.TempDir(), filepath.Join(t.TempDir(), "tree")
	b := newBench(t, fmt.Sprintf("nodes: [{name: alice, memory_mb: 128, deploy: [{src: %s, dest: %s, owner: nosuchuser}]}]", tree, to), nil)
	g.Expect(b.Start(within(t))).To(MatchError(And(
		HavePrefix(`node "alice": stage "deploy": deploy `+tree+`: `), ContainSubstring("nosuchuser"))))
}
