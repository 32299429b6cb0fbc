package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/ledger"
)

const big = "metadata: {name: big}\nnodes:\n  - {name: a, memory_mb: 300}\n  - {name: b, memory_mb: 400}\n"

func budget(mb int) func(*Config) { return func(cfg *Config) { cfg.MemoryMB = mb } }

func TestALabWaitsForTheMemoryOfAnother(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs := testDirs(t)
	first, second := newBenchIn(t, dirs, big, budget(1000)), newBenchIn(t, dirs, big, budget(1000))
	first.up()
	started := make(chan error, 1)
	go func() { started <- second.Start(within(t)) }()
	g.Eventually(second.told).Within(patience).Should(ContainElement(": waiting for memory it needs 700 MiB; " +
		"of 1000 MiB for all labs 700 are held: lab " + first.ID() + " (big, a test) 700 MiB"))
	g.Expect(second.host.overlays).To(BeEmpty(), "nothing is made while it waits")
	g.Expect(first.Close()).To(Succeed())
	g.Eventually(started).Within(patience).Should(Receive(BeNil()))
	g.Expect(second.Close()).To(Succeed())
	third := newBenchIn(t, dirs, big, budget(1000))
	third.up()
}

func TestWaitingForMemoryEndsWithStartOrClose(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs := testDirs(t)
	first := newBenchIn(t, dirs, big, budget(1000))
	first.up()
	second := newBenchIn(t, dirs, big, budget(1000))
	ctx, cancel := context.WithCancelCause(t.Context())
	started := make(chan error, 1)
	go func() { started <- second.Start(ctx) }()
	g.Eventually(second.told).Within(patience).Should(ContainElement(ContainSubstring("waiting for memory")))
	cancel(errors.New("the suite was interrupted"))
	g.Eventually(started).Within(patience).Should(Receive(MatchError(And(HavePrefix(`start lab "big": wait for memory: `),
		ContainSubstring("the suite was interrupted"), ContainSubstring("lab "+first.ID()+" (big, a test) 700 MiB")))))

	third := newBenchIn(t, dirs, big, budget(1000))
	go func() { started <- third.Start(within(t)) }()
	g.Eventually(third.told).Within(patience).Should(ContainElement(ContainSubstring("waiting for memory")))
	g.Expect(third.Close()).To(Succeed())
	g.Eventually(started).Within(patience).Should(Receive(MatchError(ErrClosed)))
}

func TestALabTooLargeForTheHostIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs := testDirs(t)
	alone := newBenchIn(t, dirs, big, budget(699))
	const refusal = "test.yaml:3:3: nodes: the nodes need 700 MiB of memory together, the host has 699"
	g.Expect(alone.Start(within(t))).To(MatchError(ContainSubstring(refusal)))
	other := newBenchIn(t, dirs, "nodes: [{name: a, memory_mb: 200}]\n", budget(699))
	other.up()
	g.Expect(newBenchIn(t, dirs, big, budget(699)).Start(within(t))).To(MatchError(ContainSubstring(refusal)), "nor does it wait")
	books, err := ledger.Open(ledger.Config{Dir: dirs.Run + "/.memory"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(books.Claims(t.Context())).To(HaveExactElements(HaveField("MB", 200)))
}

func TestMemoryBudget(t *testing.T) {
	g := NewWithT(t)
	l := newBench(t, big, nil)
	g.Expect(l.memoryBudgetMB()).To(And(BeNumerically(">", 0), BeNumerically("<", memoryInfo("MemTotal")>>20)))
	t.Setenv("LABTEST_MEMORY_MB", "1500")
	g.Expect(l.memoryBudgetMB()).To(Equal(1500))
	for _, wrong := range []string{"2G", "0", "-1"} {
		t.Setenv("LABTEST_MEMORY_MB", wrong)
		g.Expect(l.Start(within(t))).To(MatchError(ContainSubstring("LABTEST_MEMORY_MB=")))
		l = newBench(t, big, nil)
	}
}

func TestGCStrikesTheDeadOutOfTheBooks(t *testing.T) {
	g := NewWithT(t)
	dirs := testDirs(t)
	g.Expect(os.MkdirAll(ledgerDir(dirs), 0o700)).To(Succeed())
	claim := filepath.Join(ledgerDir(dirs), "000000001.claim")
	g.Expect(os.WriteFile(claim, []byte(`{"lab":"00dead","mb":512}`), 0o600)).To(Succeed())
	g.Expect(GC(within(t), dirs, GCDryRun)).To(BeEmpty())
	g.Expect(claim).To(BeARegularFile())
	g.Expect(GC(within(t), dirs, GCRemove)).To(BeEmpty())
	g.Expect(claim).NotTo(BeAnExistingFile())
	g.Expect(os.RemoveAll(ledgerDir(dirs))).To(Succeed())
}
