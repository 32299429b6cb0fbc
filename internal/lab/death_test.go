package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/guest"
)

// atOnce is how soon a death has to end a wait; most of it is for a busy machine.
const atOnce = 10 * time.Second

const killed = "its QEMU process ended unasked (killed, or out of memory?)"

func TestDeathEndsAStartAtOnceInEveryPhase(t *testing.T) {
	t.Parallel()
	tool := filepath.Join(t.TempDir(), "tool")
	NewWithT(t).Expect(os.WriteFile(tool, nil, 0o755)).To(Succeed())
	hang := func(match string) func(*behaviour) {
		return func(now *behaviour) { now.answers = []answer{{match: match, hang: true}} }
	}
	for status1, test := range map[string]struct {
		stage string
		spoil func(*behaviour)
	}{
		"waiting for kernel":     {"kernel", func(now *behaviour) { now.silent = true }},
		"waiting for sshd":       {"sshd", func(now *behaviour) { now.noSSH = true }},
		"waiting for login":      {"login", func(now *behaviour) { now.refusesKey = true }},
		"waiting for cloud-init": {"cloud-init", hang("result.json")},
		"waiting for units":      {"units", hang("is-system-running")},
		"deploying":              {"deploy", hang("/opt/tool")},
	} {
		for how, end := range map[string]func(*fakeMachine){
			"killed":   func(m *fakeMachine) { m.stop(killed) },
			"panicked": func(m *fakeMachine) { m.emit("[ 9.9] Kernel panic - not syncing: Fatal exception\r\n") },
		} {
			if test.stage == "kernel" && how == "panicked" {
				continue // whatever is printed ends the phase
			}
			t.Run(test.stage+" "+how, func(t *testing.T) {
				t.Parallel()
				g := NewWithT(t)
				b := newBench(t, fmt.Sprintf("nodes: [{name: alice, memory_mb: 128, deploy: [{src: %s, dest: /opt/tool}]}, {name: bob, memory_mb: 128}]", tool), nil)
				b.host.plan("alice").set(test.spoil)
				done := make(chan error, 1)
				go func() { done <- b.Start(within(t)) }()
				g.Eventually(status(b.node("alice"))).WithTimeout(patience).Should(Equal(status1))
				m := b.host.machine(t, "alice")
				if test.stage != "kernel" { // its end is the first word
					m.emit("the last words\n")
				}
				end(m)
				var err error
				g.Eventually(done).WithTimeout(atOnce).Should(Receive(&err))
				var stage *StageError
				g.Expect(errors.As(err, &stage)).To(BeTrue(), "%v", err)
				g.Expect(stage.Stage).To(Equal(test.stage))
				var dead *DeadError
				g.Expect(errors.As(err, &dead)).To(BeTrue(), "%v", err)
				g.Expect(dead.Node).To(Equal("alice"))
				g.Expect(dead.Cause).To(BeElementOf(killed, "its kernel panicked: [ 9.9] Kernel panic - not syncing: Fatal exception"))
				if test.stage == "kernel" {
					g.Expect(err.Error()).To(HaveSuffix("\nlast lines of its console:\n    (nothing was printed)"))
					return
				}
				g.Expect(dead.Console).To(ContainElement("the last words"))
				g.Expect(err.Error()).To(ContainSubstring("node \"alice\" is dead: " + dead.Cause + "\nlast lines of its console:\n"))
				g.Expect(err.Error()).To(ContainSubstring("\n    the last words"))
				_, err = b.node("alice").Guest()
				g.Expect(err).To(MatchError(dead))
			})
		}
	}
}

func TestDeathEndsARunningCommand(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	begun := make(chan struct{})
	b.host.plan("alice").set(func(now *behaviour) {
		now.answers = []answer{{match: "sleep infinity", hang: true, before: func() { close(begun) }}}
	})
	client, err := b.node("alice").Guest()
	g.Expect(err).NotTo(HaveOccurred())
	done := make(chan error, 1)
	ctx := within(t)
	go func() {
		_, err := client.Run(ctx, guest.Cmd{Argv: []string{"sleep", "infinity"}})
		done <- err
	}()
	g.Eventually(begun).WithTimeout(patience).Should(BeClosed())
	b.host.machine(t, "alice").stop(killed)
	g.Eventually(done).WithTimeout(atOnce).Should(Receive(&err))
	var dead *DeadError
	g.Expect(errors.As(err, &dead)).To(BeTrue(), "%v", err)
	g.Expect(dead.Cause).To(Equal(killed))
	g.Expect(status(b.node("alice"))()).To(Equal("dead: " + killed))
	g.Expect(status(b.node("bob"))()).To(Equal("ready"))
	_, err = b.node("bob").Guest()
	g.Expect(err).NotTo(HaveOccurred(), "the others go on")
}

func TestEveryOperationOnADeadNodeSaysSo(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	client, err := alice.Guest()
	g.Expect(err).NotTo(HaveOccurred())
	b.host.machine(t, "alice").emit("You are in emergency mode. After logging in, type \"journalctl -xb\"\n")
	g.Eventually(status(alice)).WithTimeout(atOnce).Should(HavePrefix("dead: it booted into systemd's emergency shell"))
	ctx := within(t)
	for name, operation := range operations(alice) {
		var dead *DeadError
		g.Expect(errors.As(operation(ctx), &dead)).To(BeTrue(), name)
	}
	_, err = client.Run(ctx, guest.Cmd{Argv: []string{"true"}})
	g.Expect(err).To(MatchError(ContainSubstring("it booted into systemd's emergency shell")), "also a client from before")
}

// operations are those that need a running guest.
func operations(n *Node) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"guest":  func(context.Context) error { _, err := n.Guest(); return err },
		"reboot": n.Reboot, "pause": n.Pause, "resume": n.Resume,
	}
}

func TestPowerOnRevivesADeadNode(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	m := b.host.machine(t, "alice")
	m.emit("Kernel panic - not syncing: sysrq\n")
	g.Eventually(status(alice)).WithTimeout(atOnce).Should(HavePrefix("dead: its kernel panicked"))
	// The rest of its report is seen late, when the node boots again, and must not kill that boot.
	b.consoles.mu.Lock()
	m.emit("---[ end Kernel panic - not syncing: sysrq ]---\n")
	b.host.plan("alice").set(func(now *behaviour) { now.silent = true })
	done := make(chan error, 1)
	go func() { done <- alice.PowerOn(within(t)) }()
	g.Eventually(status(alice)).WithTimeout(patience).Should(Equal("waiting for kernel"))
	b.consoles.mu.Unlock()
	b.host.machine(t, "alice").emit("Linux again\n")
	g.Eventually(done).WithTimeout(patience).Should(Receive(BeNil()))
	g.Expect(status(alice)()).To(Equal("ready"))
	client, err := alice.Guest()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(client.Connect(within(t))).To(Succeed())
	g.Expect(alice.ConsoleLines(20)).NotTo(ContainElement(ContainSubstring("panic")), "the console since boot")
	g.Expect(alice.Stages()).To(HaveLen(4), "those of the last start")
	g.Expect(b.host.machine(t, "alice")).NotTo(BeIdenticalTo(m))
}

func TestDeadErrorSaysWhenNothingWasPrinted(t *testing.T) {
	g := NewWithT(t)
	g.Expect((&DeadError{Node: "a", Cause: "killed", Console: []string{""}}).Error()).To(
		Equal("node \"a\" is dead: killed\nlast lines of its console:\n    (nothing was printed)"))
}

func TestAMachineThatQEMUPausedIsDead(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	const full = "QEMU paused it after an I/O error (is the host's disk full?)"
	b.host.machine(t, "alice").tell(Change{State: Stuck, Reason: full})
	g.Eventually(status(alice)).WithTimeout(atOnce).Should(Equal("dead: " + full))
	_, err := alice.Guest()
	g.Expect(err).To(MatchError(ContainSubstring(full)))
}
