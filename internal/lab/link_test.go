package lab

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric"
	"ionlab/internal/fabric/impair"
)

// sites has two networks with conditions of their own.
const sites = `metadata: {name: sites}
networks:
  - {name: wan, subnet: 10.1.0.0/24, conditions: {latency_ms: 5}}
  - {name: lan, subnet: 10.2.0.0/24}
nodes:
  - {name: alice, memory_mb: 128, networks: [wan, {name: lan, conditions: {egress: {packet_loss_percent: 2}}}]}
  - {name: bob, memory_mb: 128, networks: [wan]}
`

func (b *bench) link(owner, network string) *Link {
	b.t.Helper()
	link, err := b.linkOf("node", owner, network)
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	return link
}

// wiredBench is a lab whose fabric stands and whose nodes do not come up: nothing here needs them.
func wiredBench(t testing.TB, text string, change func(*Config)) *bench {
	t.Helper()
	b := newBench(t, text, func(c *Config) {
		c.SkipMeasuring = true
		if change != nil {
			change(c)
		}
	})
	b.host.failOverlay = errors.New("no nodes in this test")
	NewWithT(t).Expect(b.Start(within(t))).To(MatchError(ContainSubstring("no nodes in this test")))
	return b
}

func TestLinksBeginAsTheTopologySays(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, sites, nil)
	five := impair.Impairment{Delay: 5 * time.Millisecond}
	g.Expect(b.link("alice", "wan").Conditions()).To(Equal(fabric.Conditions{Egress: five, Ingress: five}))
	g.Expect(b.link("alice", "lan").Conditions()).To(Equal(fabric.Conditions{Egress: impair.Impairment{LossPercent: 2}}))
	g.Expect(b.link("alice", "lan").State()).To(Equal("egress loss 2 %; ingress none"))
	g.Expect(b.link("bob", "wan").IsUp()).To(BeTrue())
	g.Expect(b.told()).To(ContainElement(MatchRegexp(`^: impairment seed \d+$`)))
}

func TestImpairNetworkNodeAndLink(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, sites, nil)
	wan, err := b.Network("wan")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Impair(wan.Links(), Impairment{LossPercent: 10}, nil)).To(Succeed())
	g.Expect(b.Impair(b.node("alice").Links(), Impairment{DuplicatePercent: 1, On: Ingress}, nil)).To(Succeed())
	g.Expect(b.link("bob", "wan").State()).To(Equal("delay 5ms, loss 10 %"))
	g.Expect(b.link("alice", "wan").State()).To(Equal("egress delay 5ms, loss 10 %; ingress delay 5ms, loss 10 %, duplicate 1 %"))
	g.Expect(b.link("alice", "lan").State()).To(Equal("egress loss 2 %; ingress duplicate 1 %"))
	g.Expect(b.link("bob", "wan").Down(nil)).To(Succeed())
	g.Expect(b.link("bob", "wan").State()).To(Equal("down; delay 5ms, loss 10 %"))
	g.Expect(b.Reset(b.Links(), nil)).To(Succeed())
	g.Expect(b.link("alice", "wan").State()).To(Equal("delay 5ms"))
	g.Expect(b.link("alice", "lan").State()).To(Equal("egress loss 2 %; ingress none"))
	g.Expect(b.link("bob", "wan").State()).To(Equal("delay 5ms"), "reset also means up")
}

func TestImpairChangesAllLinksOrNone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, sites, nil)
	err := b.Impair(b.Links(), Impairment{ReorderPercent: 1}, nil) // which needs a delay, and lan has none
	g.Expect(err).To(MatchError(HavePrefix(`impair link of "alice" on network "lan": `)))
	g.Expect(b.link("alice", "wan").State()).To(Equal("delay 5ms"))
}

func TestUndoBringsBackTheFirstState(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, sites, nil)
	outer, inner := &Undo{}, &Undo{}
	link := b.link("alice", "wan")
	one := []*Link{link}
	g.Expect(b.Impair(one, Impairment{LossPercent: 1}, outer)).To(Succeed())
	g.Expect(b.Impair(one, Impairment{LossPercent: 2}, outer)).To(Succeed())
	g.Expect(b.Impair(one, Impairment{LossPercent: 3}, inner)).To(Succeed())
	g.Expect(link.Down(inner)).To(Succeed())
	g.Expect(link.Up(inner)).To(Succeed())
	g.Expect(link.Down(inner)).To(Succeed())
	g.Expect(link.State()).To(Equal("down; delay 5ms, loss 3 %"))
	g.Expect(inner.Run()).To(Succeed())
	g.Expect(link.State()).To(Equal("delay 5ms, loss 2 %"))
	g.Expect(outer.Run()).To(Succeed())
	g.Expect(link.State()).To(Equal("delay 5ms"))
	g.Expect(b.Impair(one, Impairment{LossPercent: 4}, nil)).To(Succeed())
	g.Expect(outer.Run()).To(Succeed(), "it has forgotten what it brought back")
	g.Expect(link.State()).To(Equal("delay 5ms, loss 4 %"))
	g.Expect((*Undo)(nil).Run()).To(Succeed())
	g.Expect(link.Down(outer)).To(Succeed())
	g.Expect(b.Close()).To(Succeed())
	g.Expect(outer.Run()).To(Succeed(), "a closed lab has nothing to bring back")
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	const four = "nodes: [{name: a, memory_mb: 128}, {name: b, memory_mb: 128}, {name: c, memory_mb: 128}, {name: d, memory_mb: 128}]"
	both := func(pairs ...[2]string) []any {
		var out []any
		for _, p := range pairs {
			out = append(out, p, [2]string{p[1], p[0]})
		}
		return out
	}
	b := wiredBench(t, four, nil)
	for name, test := range map[string]struct {
		groups [][]string
		want   []any
	}{
		"two groups":   {[][]string{{"a", "b"}, {"c"}}, both([2]string{"a", "c"}, [2]string{"b", "c"})},
		"three groups": {[][]string{{"a"}, {"b"}, {"c"}}, both([2]string{"a", "b"}, [2]string{"a", "c"}, [2]string{"b", "c"})},
		"one alone":    {[][]string{{"a"}}, both([2]string{"a", "b"}, [2]string{"a", "c"}, [2]string{"a", "d"})},
		"a bridge":     {[][]string{{"a", "b"}, {"b", "c"}}, both([2]string{"a", "c"})},
		"said twice":   {[][]string{{"a", "a"}, {"c"}}, both([2]string{"a", "c"})},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			undo := &Undo{}
			g.Expect(b.Partition(test.groups, undo)).To(Succeed())
			g.Expect(b.Cuts()).To(ConsistOf(test.want...))
			g.Expect(undo.Run()).To(Succeed())
			g.Expect(b.Cuts()).To(BeEmpty())
		})
	}
}

func TestPartitionsAddUpUntilHeal(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, two, nil)
	g.Expect(b.PartitionOneWay([]string{"alice"}, []string{"bob"}, nil)).To(Succeed())
	g.Expect(b.Cuts()).To(Equal([][2]string{{"alice", "bob"}}))
	undo := &Undo{}
	g.Expect(b.Partition([][]string{{"alice"}, {"bob"}}, undo)).To(Succeed())
	g.Expect(b.Cuts()).To(HaveLen(2))
	g.Expect(b.Heal(undo)).To(Succeed())
	g.Expect(b.Cuts()).To(BeEmpty())
	g.Expect(undo.Run()).To(Succeed())
	g.Expect(b.Cuts()).To(Equal([][2]string{{"alice", "bob"}}), "what was cut before is cut again")
	g.Expect(b.Heal(nil)).To(Succeed())
	g.Expect(b.Cuts()).To(BeEmpty())
}

func TestPartitionsThatCannotBe(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	g.Expect(b.Partition(nil, nil)).To(MatchError("partition: name at least one group of nodes"))
	g.Expect(b.Partition([][]string{{"alice"}, {}}, nil)).To(MatchError("partition: group 2 is empty: there is nobody to cut off"))
	g.Expect(b.Partition([][]string{{"alice", "bob"}}, nil)).To(MatchError("partition: group 2 is empty: there is nobody to cut off"))
	g.Expect(b.Partition([][]string{{"alice", "carol"}, {"dave"}}, nil)).To(MatchError(
		"partition: lab \"two\" has no node or router \"carol\"; it has alice, bob\npartition: lab \"two\" has no node or router \"dave\"; it has alice, bob"))
	g.Expect(b.PartitionOneWay([]string{"alice"}, []string{"alice"}, nil)).To(MatchError(`partition: node "alice" stands on both sides`))
	g.Expect(b.Partition([][]string{{"alice"}, {"bob"}}, nil)).To(MatchError("partition: the lab was not started"))
	g.Expect(b.Heal(nil)).To(MatchError("heal: the lab was not started"))
}

func TestNamesThatAreNotThere(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, sites, nil)
	_, err := b.Network("wam")
	g.Expect(err).To(MatchError(`lab "sites" has no network "wam"; it has ["wan" "lan"]`))
	_, err = b.node("bob").Link("lan")
	g.Expect(err).To(MatchError(`node "bob" is not on a network "lan"; it is on "wan"`))
	_, err = b.Router("gw")
	g.Expect(err).To(MatchError(`lab "sites" has no router "gw"; it has []`))
	g.Expect(b.link("bob", "wan").Down(nil)).To(MatchError(`link of "bob" on network "wan": the lab was not started`))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(b.link("bob", "wan").Up(nil)).To(MatchError(ErrClosed))
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	drawn := newBench(t, one, nil).Seed()
	g.Expect(drawn).To(BeNumerically(">", 0))
	g.Expect(newBench(t, one, nil).Seed()).NotTo(Equal(drawn))
	g.Expect(newBench(t, "seed: 42\n"+one, nil).Seed()).To(Equal(uint64(42)))
	g.Expect(newBench(t, "seed: 42\n"+one, func(c *Config) { c.Seed = 43 }).Seed()).To(Equal(uint64(43)), "who starts the lab has the last word")
}
