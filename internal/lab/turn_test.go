package lab

import (
	"errors"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

const three = "metadata: {name: three}\nnodes: [{name: alice, memory_mb: 128}, {name: bob, memory_mb: 128}, {name: carol, memory_mb: 128}]"

func TestNodesBootInTurns(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, three, func(cfg *Config) { cfg.Limits.Boots = 1 })
	b.up()
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
	waits := slices.DeleteFunc(slices.Clone(told), func(e string) bool {
		return !slices.Contains([]string{"alice: waiting for its turn to boot", "bob: waiting for its turn to boot", "carol: waiting for its turn to boot"}, e)
	})
	g.Expect(waits).To(HaveLen(2))
}

func TestAFailedBootEndsTheWaitForATurn(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, three, func(cfg *Config) { cfg.Limits.Boots = 1 })
	b.host.failCreate = errors.New("no machine for a test")
	g.Expect(b.Start(within(t))).To(MatchError(ContainSubstring("no machine for a test")))
}
