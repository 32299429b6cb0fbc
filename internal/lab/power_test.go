package lab

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/guest"
)

func TestPowerOffAndOn(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]struct {
		do     func(*Node, context.Context) error
		status string
	}{
		"power off": {(*Node).PowerOff, "powered off on request"},
		"shutdown":  {(*Node).Shutdown, "shut down on request"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := newBench(t, two, nil)
			b.up()
			alice := b.node("alice")
			g.Expect(off.do(alice, within(t))).To(Succeed())
			g.Expect(status(alice)()).To(Equal(off.status))
			g.Expect(off.do(alice, within(t))).To(Succeed(), "it is off already")
			for name, operation := range operations(alice) {
				err := operation(within(t))
				g.Expect(err).To(MatchError(ErrOff), name)
				g.Expect(err.Error()).To(HaveSuffix(`node "alice": it is powered off (`+off.status+`)`), name)
			}
			var dead *DeadError
			_, err := alice.Guest()
			g.Expect(errors.As(err, &dead)).To(BeFalse(), "it was asked for")
			g.Expect(alice.PowerOn(within(t))).To(Succeed())
			g.Expect(status(alice)()).To(Equal("ready"))
			g.Expect(alice.PowerOn(within(t))).To(MatchError(`power on node "alice": it runs`))
			client, err := alice.Guest()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(client.Connect(within(t))).To(Succeed())
			g.Expect(b.host.overlays).To(HaveLen(2), "it starts from its own disk")
			g.Expect(status(b.node("bob"))()).To(Equal("ready"))
		})
	}
}

func TestShutdownThatTheGuestRefuses(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	b.host.plan("alice").set(func(now *behaviour) { now.ignoresButton = true })
	ctx, cancel := context.WithTimeoutCause(context.Background(), 100*time.Millisecond, errors.New("the spec has no more time"))
	defer cancel()
	g.Expect(alice.Shutdown(ctx)).To(MatchError(`shutdown node "alice": the guest still runs: the spec has no more time (PowerOff does not ask it)`))
	client, err := alice.Guest()
	g.Expect(err).NotTo(HaveOccurred(), "it stays as it is")
	g.Expect(client.Connect(within(t))).To(Succeed())
	b.host.machine(t, "alice").stop(killed)
	g.Eventually(status(alice)).WithTimeout(atOnce).Should(Equal("dead: "+killed), "a death after that is one")
}

func TestRebootIsProvenByTheBootID(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	before := bootOf(t, alice)
	g.Expect(alice.Reboot(within(t))).To(Succeed())
	g.Expect(bootOf(t, alice)).NotTo(Equal(before))
	g.Expect(status(alice)()).To(Equal("ready"))
}

func TestRebootHasAnotherQEMUWithoutKVM(t *testing.T) {
	t.Parallel()
	for _, accel := range []string{"kvm", "tcg"} {
		t.Run(accel, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			b := newBench(t, one, nil)
			b.host.accel = accel
			b.up()
			before := b.host.machine(t, "alice")
			g.Expect(b.node("alice").Reboot(within(t))).To(Succeed())
			same := BeIdenticalTo(before)
			if accel == "tcg" {
				same = Not(same)
			}
			g.Expect(b.host.machine(t, "alice")).To(same)
			g.Expect(status(b.node("alice"))()).To(Equal("ready"))
		})
	}
}

func TestALaterBootLeavesOutCloudInit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		userData string
		out      bool
	}{
		"all else that cloud_init has is for the first boot": {"", true},
		"user_data may ask for something at each boot":       {"#cloud-config\nbootcmd: [[true]]\n", false},
	} {
		for way, again := range map[string]func(*Node) error{
			"reboot":   func(n *Node) error { return n.Reboot(within(t)) },
			"power on": func(n *Node) error { return errors.Join(n.PowerOff(within(t)), n.PowerOn(within(t))) },
		} {
			t.Run(name+": "+way, func(t *testing.T) {
				g := NewWithT(t)
				b := newBench(t, strings.Replace(one, "memory_mb: 128", `memory_mb: 128, cloud_init: {runcmd: ["true"]}, env: {A: b}`, 1), nil)
				b.up()
				alice := b.node("alice")
				alice.spec.CloudInit.UserData = test.userData // the fake guest reads none
				g.Expect(b.host.machine(t, "alice").xml).NotTo(ContainSubstring("cloud-init=disabled"))
				told := func() string { return strings.Join(b.told(), "\n") }
				first := told()
				g.Expect(first).To(ContainSubstring("alice: waiting for cloud-init"))
				g.Expect(again(alice)).To(Succeed())
				g.Expect(strings.Contains(b.host.machine(t, "alice").xml, " cloud-init=disabled ")).To(Equal(test.out))
				g.Expect(strings.Contains(strings.TrimPrefix(told(), first), "alice: waiting for cloud-init")).To(Equal(!test.out))
				g.Expect(b.Snapshot(within(t))).To(Succeed())
				g.Expect(b.Revert(within(t))).To(Succeed())
			})
		}
	}
}

func TestANodeThatWasNeverProvisionedBootsWithCloudInit(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.host.plan("alice").set(func(now *behaviour) { now.answers = []answer{{match: "result.json", code: 1, out: "no datasource"}} })
	g.Expect(b.Start(within(t))).To(MatchError(ContainSubstring("no datasource")))
	b.host.plan("alice").set(func(now *behaviour) { now.answers = nil })
	alice := b.node("alice")
	g.Expect(errors.Join(alice.PowerOff(within(t)), alice.PowerOn(within(t)))).To(Succeed())
	g.Expect(b.host.machine(t, "alice").xml).NotTo(ContainSubstring("cloud-init=disabled"))
}

func TestRebootWhoseQEMUDoesNotStartIsADeath(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	b.host.failCreate = errors.New("no room")
	g.Expect(alice.Reboot(within(t))).To(MatchError(And(HavePrefix(`reboot node "alice": `), ContainSubstring("no room"))))
	_, err := alice.Guest()
	var dead *DeadError
	g.Expect(errors.As(err, &dead)).To(BeTrue(), "%v", err)
	g.Expect(dead.Cause).To(Equal("its domain could not be started again"))
	b.host.failCreate = nil
	g.Expect(alice.PowerOn(within(t))).To(Succeed())
}

func TestPowerOffDoesNotWaitForAShutdown(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	b.host.plan("alice").set(func(now *behaviour) { now.ignoresButton = true })
	down := make(chan error, 1)
	ctx := within(t)
	go func() { down <- alice.Shutdown(ctx) }()
	g.Consistently(down).WithTimeout(50 * time.Millisecond).ShouldNot(Receive())
	g.Expect(alice.PowerOff(ctx)).To(Succeed())
	g.Eventually(down).WithTimeout(patience).Should(Receive(BeNil()))
}

func TestPowerOffBetweenTwoQEMUsOfAReboot(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	g.Eventually(b.host.reached).Should(Receive(Equal("create")))
	b.host.holdAt("create")
	rebooted, off := make(chan error, 1), make(chan error, 1)
	ctx := within(t)
	go func() { rebooted <- alice.Reboot(ctx) }()
	g.Eventually(b.host.reached).WithTimeout(patience).Should(Receive(Equal("create")))
	hurried, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("in a hurry"))
	g.Expect(alice.PowerOff(hurried)).To(MatchError(`power off node "alice": it is being restarted, stopped or saved: in a hurry`))
	go func() { off <- alice.PowerOff(ctx) }()
	g.Consistently(off).WithTimeout(50 * time.Millisecond).ShouldNot(Receive())
	b.host.release("create")
	g.Eventually(off).WithTimeout(patience).Should(Receive(BeNil()))
	g.Eventually(rebooted).WithTimeout(patience).Should(Receive(MatchError(HavePrefix(`reboot node "alice": `))))
	g.Expect(status(alice)()).To(Equal("powered off on request"))
	g.Expect(b.host.machine(t, "alice").ended()).To(BeTrue(), "no machine runs that nobody asked for")
	g.Expect(alice.PowerOn(within(t))).To(Succeed())
}

// powerOffDuringSnapshot holds a Snapshot at a step, shows that a PowerOff of alice waits then, and lets both go on.
func (b *bench) powerOffDuringSnapshot(step string) (taken, off chan error) {
	b.t.Helper()
	g := NewWithT(b.t)
	b.host.holdAt(step)
	taken, off = make(chan error, 1), make(chan error, 1)
	ctx := within(b.t)
	go func() { taken <- b.Snapshot(ctx) }()
	g.Eventually(b.host.reached).WithTimeout(patience).Should(Receive(Equal(step)))
	go func() { off <- b.node("alice").PowerOff(ctx) }()
	g.Consistently(off).WithTimeout(50 * time.Millisecond).ShouldNot(Receive())
	b.host.release(step)
	return taken, off
}

func TestPowerOffWhileASnapshotIsTaken(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"save alice", "restore"} {
		t.Run(step, func(t *testing.T) {
			g := NewWithT(t)
			b := newBench(t, one, nil)
			b.up()
			alice := b.node("alice")
			taken, off := b.powerOffDuringSnapshot(step)
			g.Eventually(off).WithTimeout(patience).Should(Receive(BeNil()))
			g.Eventually(taken).WithTimeout(patience).Should(Receive(BeNil()))
			g.Expect(status(alice)()).To(Equal("powered off on request"))
			g.Expect(b.host.machine(t, "alice").ended()).To(BeTrue(), "no machine runs that nobody asked for")
			g.Expect(alice.PowerOn(within(t))).To(Succeed())
		})
	}
}

func TestPowerOffWhileASnapshotFails(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	b.host.failSave = errors.New("no space left on device")
	taken, off := b.powerOffDuringSnapshot("save alice")
	g.Eventually(taken).WithTimeout(patience).Should(Receive(MatchError(ContainSubstring("no space left on device"))))
	g.Eventually(off).WithTimeout(patience).Should(Receive(BeNil()))
}

func bootOf(t testing.TB, n *Node) string {
	t.Helper()
	client, err := n.Guest()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	id, err := bootID(within(t), client)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return id
}

func TestRebootThatDoesNotHappen(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	b.host.plan("alice").set(func(now *behaviour) { now.sameBoot = true })
	g.Expect(growing(func(limit time.Duration) error {
		b.limits.Boot = limit
		err := b.node("alice").Reboot(within(t))
		g.Expect(err).To(MatchError(And(HavePrefix(`reboot node "alice": `), ContainSubstring("no new boot within %s", limit))))
		return lacks(err, "gave up after ", "last cause: the guest still runs the old boot")
	})).To(Succeed())
	b.host.plan("alice").set(func(now *behaviour) {
		now.answers = []answer{{match: "systemctl reboot", err: "Interactive authentication required.", code: 1}}
	})
	g.Expect(b.node("alice").Reboot(within(t))).To(MatchError(
		`reboot node "alice": systemctl reboot exited with 1: Interactive authentication required.`))
}

func TestRebootThatEndsTheDomainIsADeath(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	b.host.plan("alice").set(func(now *behaviour) { now.rebootEnds = true })
	began := time.Now()
	err := b.node("alice").Reboot(within(t))
	g.Expect(time.Since(began)).To(BeNumerically("<", patience/2), "nobody says goodbye on a connection to such a guest")
	var dead *DeadError
	g.Expect(errors.As(err, &dead)).To(BeTrue(), "%v", err)
	g.Expect(dead.Cause).To(Equal("the domain stopped instead of starting again"))
	_, err = b.node("alice").Guest()
	g.Expect(errors.As(err, &dead)).To(BeTrue())
}

func TestDeathAfterTheRebootIsADeath(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	begun := make(chan struct{})
	b.host.plan("alice").set(func(now *behaviour) {
		now.answers = []answer{{match: "is-system-running", hang: true, before: func() { close(begun) }}}
	})
	done := make(chan error, 1)
	ctx := within(t)
	go func() { done <- alice.Reboot(ctx) }()
	g.Eventually(begun).WithTimeout(patience).Should(BeClosed())
	b.host.machine(t, "alice").stop(killed)
	var err error
	g.Eventually(done).WithTimeout(atOnce).Should(Receive(&err))
	var dead *DeadError
	g.Expect(errors.As(err, &dead)).To(BeTrue(), "%v", err)
	g.Expect(dead.Cause).To(Equal(killed))
	_, err = alice.Guest()
	g.Expect(errors.As(err, &dead)).To(BeTrue(), "%v", err)
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	g.Expect(alice.Pause(within(t))).To(Succeed())
	g.Eventually(status(alice)).WithTimeout(atOnce).Should(Equal("paused"))
	g.Expect(alice.Resume(within(t))).To(Succeed())
	g.Eventually(status(alice)).WithTimeout(atOnce).Should(Equal("ready"))
}

func TestRestartThatTheGuestBeganIsNoDeath(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	before := bootOf(t, alice)
	b.host.machine(t, "alice").reboot()
	g.Eventually(func() string { return bootOf(t, alice) }).WithTimeout(patience).ShouldNot(Equal(before))
}

func TestPowerAtOnceFromManySides(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	alice := b.node("alice")
	for range 3 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { NewWithT(t).Expect(alice.PowerOff(within(t))).To(Succeed()) })
		}
		all.Wait()
		g.Expect(status(alice)()).To(Equal("powered off on request"))
		g.Expect(alice.PowerOn(within(t))).To(Succeed())
		client, err := alice.Guest()
		g.Expect(err).NotTo(HaveOccurred())
		_, err = client.Run(within(t), guest.Cmd{Argv: []string{"true"}})
		g.Expect(err).NotTo(HaveOccurred())
	}
}

func TestPowerOnOfALabThatNeverStarted(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	alice := b.node("alice")
	g.Expect(alice.PowerOff(within(t))).To(Succeed())
	g.Expect(alice.ConsoleLines(3)).To(BeEmpty())
	_, err := alice.Guest()
	g.Expect(err).To(MatchError(`node "alice": it is powered off (not started)`))
	g.Expect(alice.PowerOn(within(t))).To(MatchError(`power on node "alice": the lab was not started`))
	g.Expect(b.Close()).To(Succeed())
	_, err = alice.Guest()
	g.Expect(err).To(MatchError(`node "alice": the lab is closed`))
	g.Expect(alice.PowerOn(within(t))).To(MatchError(`power on node "alice": the lab is closed`))
	g.Expect(errors.Is(alice.PowerOn(within(t)), ErrClosed)).To(BeTrue())
}
