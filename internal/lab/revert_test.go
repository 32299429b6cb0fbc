package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/guest"
)

func run(t testing.TB, n *Node, argv ...string) string {
	t.Helper()
	g := NewWithT(t)
	client, err := n.Guest()
	g.Expect(err).NotTo(HaveOccurred())
	res, err := client.Run(within(t), guest.Cmd{Argv: argv})
	g.Expect(err).NotTo(HaveOccurred())
	return res.Stdout()
}

func TestSnapshotLetsCommandsGoOnAndRevertEndsThem(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	alice := b.node("alice")
	client, err := alice.Guest()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	g.Expect(alice.Guest()).To(BeIdenticalTo(client), "the same life goes on")
	g.Expect(run(t, alice, "echo", "still here")).To(Equal("still here\n"))
	g.Expect(status(alice)()).To(Equal("ready"))

	host := b.host
	host.plan("alice").set(func(now *behaviour) { now.answers = []answer{{match: "sleep 600", hang: true}} })
	process, err := client.Start(within(t), guest.Cmd{Argv: []string{"sleep", "600"}})
	g.Expect(err).NotTo(HaveOccurred())
	first := host.machine(t, "alice")
	g.Expect(b.Revert(within(t))).To(Succeed())
	_, err = process.Wait(within(t))
	g.Expect(err).To(MatchError(ErrReverted))
	g.Expect(err).To(MatchError(ContainSubstring("the lab was reverted to its snapshot")))
	_, err = client.Run(within(t), guest.Cmd{Argv: []string{"true"}})
	g.Expect(err).To(MatchError(ErrReverted))
	g.Expect(host.machine(t, "alice")).NotTo(BeIdenticalTo(first))
	for _, node := range b.Nodes() {
		g.Expect(status(node)()).To(Equal("ready"))
		g.Expect(run(t, node, "echo", "new")).To(Equal("new\n"))
		g.Expect(stagesOf(node)).To(Equal([]string{"restore", "login", "wake"}))
	}
}

func TestRevertBringsBackDeadAndStoppedNodes(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	for range 3 {
		b.host.machine(t, "alice").stop("killed")
		g.Eventually(status(b.node("alice"))).WithTimeout(patience).Should(HavePrefix("dead"))
		g.Expect(b.node("bob").PowerOff(within(t))).To(Succeed())
		g.Expect(b.Revert(within(t))).To(Succeed())
		for _, node := range b.Nodes() {
			g.Expect(run(t, node, "echo", "back")).To(Equal("back\n"))
		}
	}
}

func TestASecondSnapshotReplacesTheFirst(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	for _, suffix := range []string{stateSuffix, memorySuffix} {
		files, err := filepath.Glob(filepath.Join(b.stateDir("snapshots"), "*"+suffix))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(files).To(HaveLen(1), "the memory of the first is of no use any more")
	}
	layers, err := filepath.Glob(filepath.Join(b.stateDir("snapshots"), "*"+layerSuffix))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(layers).To(HaveLen(2), "its disk is below the others")
	g.Expect(b.Revert(within(t))).To(Succeed())
}

func TestSnapshotAndRevertSayWhatTheyNeed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	g.Expect(b.Snapshot(within(t))).To(MatchError("snapshot of lab : the lab is not up"))
	b.up()
	prefix := "revert lab " + b.ID() + ": "
	g.Expect(b.Revert(within(t))).To(MatchError(prefix + "there is no snapshot to go back to: call Snapshot first"))
	g.Expect(status(b.node("alice"))()).To(Equal("ready"), "nothing was touched")
	g.Expect(b.node("bob").Pause(within(t))).To(Succeed())
	g.Eventually(status(b.node("bob"))).WithTimeout(patience).Should(Equal("paused"))
	g.Expect(b.Snapshot(within(t))).To(MatchError(ContainSubstring(`node "bob" is paused: Resume it first`)))
	g.Expect(b.node("bob").PowerOff(within(t))).To(Succeed())
	g.Expect(b.Snapshot(within(t))).To(MatchError(And(HavePrefix("snapshot of lab "+b.ID()+": every node has to run: "), ContainSubstring(`node "bob": it is powered off`))))
	g.Expect(run(t, b.node("alice"), "echo", "untouched")).To(Equal("untouched\n"))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(b.Revert(within(t))).To(MatchError(ErrClosed))
}

func TestARevertThatFailsLeavesEveryNodeDeadWithTheCause(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	b.host.failRestore = errors.New("QEMU refuses")
	g.Expect(b.Revert(within(t))).To(MatchError(ContainSubstring("QEMU refuses")))
	for _, node := range b.Nodes() {
		_, err := node.Guest()
		var dead *DeadError
		g.Expect(errors.As(err, &dead)).To(BeTrue(), "%v", err)
		g.Expect(dead.Cause).To(And(HavePrefix("its revert failed: "), ContainSubstring("QEMU refuses")))
		g.Expect(status(node)()).To(HavePrefix("dead: its revert failed"))
	}
	b.host.failRestore = nil
	g.Expect(b.Revert(within(t))).To(Succeed(), "another try may work")
	g.Expect(run(t, b.node("alice"), "echo", "back")).To(Equal("back\n"))
	b.host.plan("bob").set(func(now *behaviour) { now.answers = []answer{{match: "clock_settime", out: "another CLOCK RANDOM\n"}} })
	g.Expect(b.Revert(within(t))).To(MatchError(errNotTheSame))
	_, err := b.node("alice").Guest()
	g.Expect(err).To(MatchError(ContainSubstring("its revert failed")), "also the node whose own restore went well")
	g.Expect(b.node("alice").PowerOn(within(t))).To(Succeed(), "a dead node can be booted")
}

func TestASnapshotThatFailsSaysSoOfEveryNode(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	b.host.failSave = errors.New("no space left on device")
	g.Expect(b.Snapshot(within(t))).To(MatchError(ContainSubstring("no space left on device")))
	for _, node := range b.Nodes() {
		_, err := node.Guest()
		g.Expect(err).To(MatchError(ContainSubstring("its snapshot failed: ")))
		g.Expect(node.PowerOn(within(t))).To(Succeed())
	}
}

func TestCloseEndsARevertUnderWay(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	b.host.holdAt("restore")
	done := make(chan error, 1)
	go func() { done <- b.Revert(within(t)) }()
	g.Eventually(b.host.reached).WithTimeout(patience).Should(Receive(Equal("restore")))
	began := time.Now()
	g.Expect(b.Close()).To(Succeed())
	g.Eventually(done).WithTimeout(patience).Should(Receive(MatchError(ErrClosed)))
	g.Expect(time.Since(began)).To(BeNumerically("<", patience/2))
}

func TestRevertsInARowLeaveNothing(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	g.Expect(b.Revert(within(t))).To(Succeed())
	before, err := os.ReadDir(b.stateDir("snapshots"))
	g.Expect(err).NotTo(HaveOccurred())
	for range 10 {
		g.Expect(b.Revert(context.Background())).To(Succeed())
	}
	g.Expect(os.ReadDir(b.stateDir("snapshots"))).To(HaveLen(len(before)))
	g.Expect(b.host.hypervisors[0].machines).To(HaveLen(13), "one booted, one restored by Snapshot, eleven reverts")
}
