package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"ionlab/internal/ledger"
)

// memoryBudgetMB is what all labs of this user may have together, in MiB: as configured, LABTEST_MEMORY_MB, or seven
// eighths of the host's memory, the rest being for the host and for what QEMU needs itself. 0 when it is not known.
func (l *Lab) memoryBudgetMB() (int, error) {
	if l.cfg.MemoryMB > 0 {
		return l.cfg.MemoryMB, nil
	}
	text := os.Getenv("LABTEST_MEMORY_MB")
	if text == "" {
		return int(memoryInfo("MemTotal") >> 20 * 7 / 8), nil
	}
	mb, err := strconv.Atoi(text)
	if err != nil || mb <= 0 {
		return 0, fmt.Errorf("LABTEST_MEMORY_MB=%q: give what all labs may have together, in MiB, for example 8192", text)
	}
	return mb, nil
}

// ledgerDir is where all labs that share a run folder keep the books of memory.
func ledgerDir(dirs Dirs) string { return filepath.Join(dirs.Run, ".memory") }

// openLedger opens the books of the host's memory, and returns what the lab could have if it waited for all others to end,
// in MiB; 0 when that is not known.
func (l *Lab) openLedger(ctx context.Context) (int, error) {
	budget, err := l.memoryBudgetMB()
	if err != nil || budget == 0 {
		return 0, err
	}
	l.books, err = ledger.Open(ledger.Config{
		Dir: ledgerDir(l.cfg.Dirs), BudgetMB: budget,
		AvailableMB: func() int { return int(availableMemory() >> 20) },
	})
	if err != nil {
		return 0, err
	}
	others, err := l.books.Claims(ctx)
	if err != nil {
		return 0, err
	}
	if available := int(availableMemory() >> 20); len(others) == 0 && available > 0 {
		budget = min(budget, available)
	}
	return budget, nil
}

// admit waits until the host has memory for the lab's machines, and reserves it until the lab is closed.
func (l *Lab) admit(ctx context.Context) error {
	if l.books == nil {
		return nil
	}
	claim := ledger.Claim{Lab: l.ID(), Topology: l.topo.Metadata.Name, Owner: l.cfg.Owner}
	for _, node := range l.nodes {
		claim.MB += node.spec.MemoryMB
	}
	memory, err := l.books.Reserve(ctx, claim, func(why string) {
		l.tell(Event{Stage: "waiting for memory", Note: why})
	})
	if err != nil {
		return fmt.Errorf("start lab %q: %w", l.topo.Metadata.Name, err)
	}
	l.memory = memory
	return nil
}
