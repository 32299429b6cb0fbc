package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/lock"
)

const three = "metadata: {name: three}\nnodes: [{name: alice, memory_mb: 128}, {name: bob, memory_mb: 128}, {name: carol, memory_mb: 128}]"

func TestNodesBootInTurns(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, three, func(cfg *Config) { cfg.Limits.Boots = 1 })
	b.host.holdAt("create")
	up := make(chan error, 1)
	go func() { up <- b.Start(within(t)) }()
	waiting := func() []string {
		return slices.DeleteFunc(b.told(), func(e string) bool { return !strings.HasSuffix(e, ": waiting for its turn to boot") })
	}
	g.Eventually(waiting).WithTimeout(patience).Should(HaveLen(2), "the third is booting")
	b.host.release("create")
	g.Eventually(up).WithTimeout(patience).Should(Receive(BeNil()))
	told := b.told()
	booting := ""
	for _, e := range told {
		for _, node := range []string{"alice", "bob", "carol"} {
			switch e {
			case node + ": waiting for kernel":
				g.Expect(booting).To(BeEmpty(), "%s begins while another one boots: %q", node, told)
				booting = node
			case node + ": waiting for login": // the last stage before the turn ends
				g.Expect(booting).To(Equal(node), "%q", told)
				booting = ""
			}
		}
	}
}

func TestAFailedBootEndsTheWaitForATurn(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, three, func(cfg *Config) { cfg.Limits.Boots = 1 })
	b.host.failCreate = errors.New("no machine for a test")
	g.Expect(b.Start(within(t))).To(MatchError(ContainSubstring("no machine for a test")))
}

func TestLabsOfOneHostShareTheTurns(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, func(cfg *Config) { cfg.Limits.Boots = 1 })
	g.Expect(os.MkdirAll(turnDir(b.cfg.Dirs), 0o700)).To(Succeed())
	other, err := lock.Try(filepath.Join(turnDir(b.cfg.Dirs), "0"), lock.Exclusive) // as another process has it
	g.Expect(err).NotTo(HaveOccurred())
	started := make(chan error, 1)
	go func() { started <- b.Start(within(t)) }()
	const waits = "alice: waiting for its turn to boot"
	g.Eventually(b.told).WithTimeout(patience).Should(ContainElement(waits))
	g.Consistently(b.told).WithTimeout(3 * turnEvery).ShouldNot(ContainElement("alice: waiting for kernel"))
	g.Expect(other.Close()).To(Succeed())
	g.Eventually(started).WithTimeout(patience).Should(Receive(BeNil()))
	g.Expect(b.told()).To(ContainElement("alice: waiting for kernel"))
}

func TestAWaitForATurnEndsWithItsContext(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, func(cfg *Config) { cfg.Limits.Boots = 1 })
	g.Expect(os.MkdirAll(turnDir(b.cfg.Dirs), 0o700)).To(Succeed())
	other, err := lock.Try(filepath.Join(turnDir(b.cfg.Dirs), "0"), lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	defer other.Close()
	ctx, cancel := context.WithTimeout(within(t), 3*turnEvery)
	defer cancel()
	err = b.Start(ctx)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(ContainSubstring(`node "alice": stage "turn"`)))
}
