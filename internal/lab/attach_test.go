package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"

	"ionlab/internal/guest"
)

func TestOtherProcessesFindTheLab(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	dirs := b.cfg.Dirs
	g.Expect(Find(dirs)).To(BeEmpty())
	_, err := FindOne(dirs, "abcdef")
	g.Expect(err).To(MatchError("no lab \"abcdef\" runs on this host; running: [] (`labtest list`)"))
	b.up()
	leave(t, dirs, "00dead")
	t.Cleanup(func() {
		_ = os.RemoveAll(filepath.Join(dirs.Run, "00dead"))
		_ = os.RemoveAll(filepath.Join(dirs.State, "00dead"))
	})
	all, err := Find(dirs)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all).To(HaveLen(1), "a dead lab is none")
	found, err := FindOne(dirs, b.ID())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(Equal(all[0]))
	g.Expect(found.ID).To(Equal(b.ID()))
	g.Expect(found.SSHConfig).To(Equal(b.SSHConfig()))
	g.Expect(found.Hypervisor).To(BeADirectory())
	g.Expect(found.Nodes()).To(Equal([]string{"alice", "bob"}))
	g.Expect(found.Console("bob")).To(Equal(filepath.Join(dirs.Run, b.ID(), "s", "bob.console")))
	_, err = FindOne(dirs, "00dead")
	g.Expect(err).To(MatchError(fmt.Sprintf("no lab \"00dead\" runs on this host; running: [%s] (`labtest list`)", b.ID())))
	want := fmt.Sprintf(`lab %s has no node "carol"; it has ["alice" "bob"]`, b.ID())
	_, err = found.Console("carol")
	g.Expect(err).To(MatchError(want))
	_, err = found.Guest("carol")
	g.Expect(err).To(MatchError(want))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(Find(dirs)).To(BeEmpty())
}

func TestOtherProcessesReachTheGuest(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	found, err := FindOne(b.cfg.Dirs, b.ID())
	g.Expect(err).NotTo(HaveOccurred())
	for _, node := range []string{"alice", "bob"} {
		client, err := found.Guest(node)
		g.Expect(err).NotTo(HaveOccurred())
		id, err := bootID(within(t), client)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(id).To(Equal(bootOf(t, b.node(node))), "the door leads to the node of that name")
		g.Expect(client.Close()).To(Succeed())
	}
	// The host key is checked: bob's key does not do for alice.
	known := filepath.Join(b.cfg.Dirs.Run, b.ID(), "known_hosts")
	text, err := os.ReadFile(known)
	g.Expect(err).NotTo(HaveOccurred())
	swapped := strings.NewReplacer("alice ", "bob ", "bob ", "alice ").Replace(string(text))
	g.Expect(os.WriteFile(known, []byte(swapped), 0o600)).To(Succeed())
	client, err := found.Guest("alice")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(client.Connect(within(t))).To(MatchError(ContainSubstring("host key mismatch")))
	g.Expect(client.Close()).To(Succeed())
	g.Expect(os.WriteFile(known, nil, 0o600)).To(Succeed())
	_, err = found.Guest("alice")
	g.Expect(err).To(MatchError(fmt.Sprintf(`lab %s has no host key of node "alice" yet`, b.ID())))
	g.Expect(os.Remove(filepath.Join(b.cfg.Dirs.Run, b.ID(), "key"))).To(Succeed())
	_, err = found.Guest("alice")
	g.Expect(err).To(MatchError(And(HavePrefix("read the key of lab "+b.ID()+": "), HaveSuffix("(is it yours?)"))))
}

func TestDoorsAreClosedToOthers(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	run := filepath.Join(b.cfg.Dirs.Run, b.ID())
	for name, want := range map[string]string{
		"d": "drwx------", "v": "drwx------", "s": "drwx------", "f": "drwx------",
		"d/alice.ssh": "Srw-------", "key": "-rw-------", "known_hosts": "-rw-------", "ssh_config": "-rw-------",
	} {
		info, err := os.Lstat(filepath.Join(run, name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Mode().String()).To(Equal(want), name)
	}
}

func TestDoorLeadsToTheGuestAndEndsWithTheLab(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	door := b.node("alice").files.ssh
	g.Expect(banner(t, "unix", door)).To(HavePrefix("SSH-2.0-"))
	conn, err := dial(t, "unix", door)
	g.Expect(err).NotTo(HaveOccurred())
	buf := make([]byte, 4)
	_, err = conn.Read(buf)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Close()).To(Succeed())
	for err == nil {
		_, err = conn.Read(buf)
	}
	var timeout net.Error
	g.Expect(errors.As(err, &timeout) && timeout.Timeout()).To(BeFalse(), "the connection ends with the lab: %v", err)
	_, err = dial(t, "unix", door)
	g.Expect(err).To(HaveOccurred())
}

func TestDoorSaysWhyItIsClosed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	conn, err := dial(t, "unix", alice.files.ssh)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(io.ReadFull(conn, make([]byte, 8))).To(Equal(8))
	g.Expect(alice.PowerOff(within(t))).To(Succeed())
	_, err = io.Copy(io.Discard, conn)
	g.Expect(err).NotTo(HaveOccurred(), "who is inside when the machine goes is told so, not left waiting")
	g.Expect(banner(t, "unix", alice.files.ssh)).To(Equal("labtest: node \"alice\": it is powered off (powered off on request)\r\n"))
	g.Expect(alice.PowerOn(within(t))).To(Succeed())
	g.Expect(banner(t, "unix", alice.files.ssh)).To(HavePrefix("SSH-2.0-"))
	b.host.machine(t, "alice").stop(killed)
	g.Eventually(status(alice)).WithTimeout(atOnce).Should(HavePrefix("dead"))
	g.Expect(banner(t, "unix", alice.files.ssh)).To(Equal("labtest: node \"alice\" is dead: " + killed + "\r\n"))
}

func TestOtherProcessesRunCommandsAsTheOwnerDoes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, "nodes: [{name: alice, memory_mb: 128, env: {COLOUR: a b}}]", nil)
	b.up()
	found, err := FindOne(b.cfg.Dirs, b.ID())
	g.Expect(err).NotTo(HaveOccurred())
	client, err := found.Guest("alice")
	g.Expect(err).NotTo(HaveOccurred())
	defer client.Close()
	res, err := client.Run(within(t), guest.Cmd{Argv: []string{"sh", "-c", `printf %s "$COLOUR"`}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Stdout()).To(Equal("a b"))
	g.Expect(os.WriteFile(filepath.Join(b.cfg.Dirs.Run, b.ID(), "d", "alice.json"), []byte("{"), 0o600)).To(Succeed())
	_, err = found.Guest("alice")
	g.Expect(err).To(MatchError(HavePrefix(`read the note on node "alice": `)))
}

func TestSSHConfigReachesNodesByName(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	run := filepath.Join(b.cfg.Dirs.Run, b.ID())
	text, err := os.ReadFile(b.SSHConfig())
	g.Expect(err).NotTo(HaveOccurred())
	for _, node := range []string{"alice", "bob"} {
		g.Expect(string(text)).To(MatchRegexp(`(?m)^Host %s\n    ProxyCommand .*(nc -U|connect) '%s/d/%s.ssh'$`, node, run, node))
	}
	for _, line := range []string{
		`# Lab ` + b.ID() + `, made by labtest from test.yaml. It goes when the lab does.`,
		`Host *`, `    User root`, `    IdentityFile "` + run + `/key"`, `    IdentitiesOnly yes`,
		`    UserKnownHostsFile "` + run + `/known_hosts"`, `    GlobalKnownHostsFile /dev/null`,
		`    StrictHostKeyChecking yes`, `    PasswordAuthentication no`,
	} {
		g.Expect(strings.Split(string(text), "\n")).To(ContainElement(line))
	}
	key, err := os.ReadFile(filepath.Join(run, "key"))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = ssh.ParsePrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	known, err := os.ReadFile(filepath.Join(run, "known_hosts"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, node := range b.Nodes() {
		_, hosts, public, _, rest, err := ssh.ParseKnownHosts(known)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(hosts).To(Equal([]string{node.Name()}))
		g.Expect(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))).To(
			Equal(strings.Join(strings.Fields(node.hostKey.Public)[:2], " ")))
		known = rest
	}
	g.Expect(b.Close()).To(Succeed())
	g.Expect(run).NotTo(BeAnExistingFile())
}

func TestWordsOfSSHConfig(t *testing.T) {
	g := NewWithT(t)
	g.Expect(sshWord("/tmp/a b%c")).To(Equal(`"/tmp/a b%%c"`))
	g.Expect(shellQuote("it's")).To(Equal(`'it'\''s'`))
}

func TestProxyCommandPrefersLabtest(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	g.Expect(proxyCommand("/run/x")).To(Equal("nc -U '/run/x'"))
	labtest := filepath.Join(dir, "labtest")
	g.Expect(os.WriteFile(labtest, []byte("#!/bin/sh\n"), 0o755)).To(Succeed())
	found, err := exec.LookPath("labtest")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(proxyCommand("/run/x")).To(Equal("'" + found + "' connect '/run/x'"))
}

func TestFoundGuestOfAnOwnerThatDied(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	found, err := FindOne(b.cfg.Dirs, b.ID())
	g.Expect(err).NotTo(HaveOccurred())
	client, err := found.Guest("alice")
	g.Expect(err).NotTo(HaveOccurred())
	defer client.Close()
	g.Expect(b.Close()).To(Succeed())
	_, err = client.Run(within(t), guest.Cmd{Argv: []string{"true"}})
	g.Expect(err).To(MatchError(And(ContainSubstring(`connect to node "alice": dial`), ContainSubstring("alice.ssh"))))
}
