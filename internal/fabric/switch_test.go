package fabric

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// testClock is a clock that stands until it is set forward.
type testClock struct{ ns atomic.Int64 }

func (c *testClock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *testClock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func TestSwitchFloodsUntilItHasLearned(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")

	question := ether(b.mac(), a.mac(), testType, "anyone?")
	a.send(question)
	g.Expect(b.recv()).To(Equal(question))
	g.Expect(c.recv()).To(Equal(question), "an unknown address is flooded")

	answer := ether(a.mac(), b.mac(), testType, "me")
	b.send(answer)
	g.Expect(a.recv()).To(Equal(answer))
	again := ether(b.mac(), a.mac(), testType, "good")
	a.send(again)
	g.Expect(b.recv()).To(Equal(again))
	c.silent()
	a.silent()
}

func TestSwitchPassesEveryKindOfFrame(t *testing.T) { everyKindPasses(t, lan(3)) }

// everyKindPasses sends from one of three guests to the others what Ethernet can carry.
func everyKindPasses(t *testing.T, network NetworkConfig) {
	f := newFabric(t, nil, network)
	a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
	for _, test := range []struct {
		name  string
		frame []byte
	}{
		{"broadcast", ether(broadcast, a.mac(), testType, "all")},
		{"IPv6 link-local", ether(b.mac(), a.mac(), 0x86dd, strings.Repeat("6", 60))},
		{"IPv6 multicast", ether(macOf([]byte{0x33, 0x33, 0, 0, 0, 0xfb}), a.mac(), 0x86dd, strings.Repeat("m", 60))},
		{"IPv4 multicast", ether(macOf([]byte{0x01, 0, 0x5e, 0, 0, 0xfb}), a.mac(), 0x0800, strings.Repeat("m", 60))},
		{"VLAN tag", ether(broadcast, a.mac(), 0x8100, "\x00\x2a\x08\x00"+strings.Repeat("v", 42))},
		{"jumbo", ether(broadcast, a.mac(), testType, strings.Repeat("j", 9000))},
		{"largest", ether(broadcast, a.mac(), testType, strings.Repeat("l", maxFrame-headerLen))},
		{"smallest", ether(broadcast, a.mac(), testType, "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			a.send(test.frame)
			g.Expect(b.recv()).To(Equal(test.frame))
			g.Expect(c.recv()).To(Equal(test.frame))
		})
	}
	a.silent()
}

func TestSwitchFollowsAnAddressThatMoves(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
	roaming := mac(0x060000009999)
	to := ether(roaming, a.mac(), testType, "where are you?")

	for _, here := range []*wire{b, c, b} {
		here.send(ether(a.mac(), roaming, testType, "here"))
		_ = a.recvAfterFlood(here, b, c)
		a.send(to)
		g.Expect(here.recv()).To(Equal(to))
	}
	b.silent()
	c.silent()
}

// recvAfterFlood takes the frame that from sent to a, and what others saw of it where a was not known yet.
func (w *wire) recvAfterFlood(from *wire, others ...*wire) []byte {
	w.t.Helper()
	frame := w.recv()
	for _, o := range others {
		if o != from {
			_, _ = o.tryRecv(20 * time.Millisecond)
		}
	}
	return frame
}

func TestSwitchForgetsWithAge(t *testing.T) {
	g := NewWithT(t)
	clock := new(testClock)
	f := newFabric(t, func(c *Config) { c.Clock = clock.now }, lan(3))
	a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
	b.send(ether(broadcast, b.mac(), testType, "I am here"))
	a.recv()
	c.recv()
	to := ether(b.mac(), a.mac(), testType, "only you")

	clock.advance(tableAge)
	a.send(to)
	g.Expect(b.recv()).To(Equal(to))
	c.silent()

	clock.advance(time.Second)
	a.send(to)
	g.Expect(b.recv()).To(Equal(to))
	g.Expect(c.recv()).To(Equal(to), "a frame for a forgotten address is flooded")
}

func TestSwitchDoesNotSendBack(t *testing.T) {
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	a.send(ether(broadcast, 0x060000000001, testType, "one"), ether(broadcast, 0x060000000002, testType, "two"))
	b.recv()
	b.recv()
	a.send(ether(0x060000000001, 0x060000000002, testType, "both behind one port"))
	a.silent()
	b.silent()
}

func TestSwitchDropsBadSources(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	a.send(
		ether(broadcast, 0x010000000001, testType, "from a group"),
		ether(broadcast, macFor("lan", gatewayRole), testType, "from the gateway"),
		ether(broadcast, macFor("lan", controlRole), testType, "from the control endpoint"),
		ether(broadcast, a.mac(), testType, "fine"),
	)
	g.Expect(string(b.recv()[headerLen:])).To(Equal("fine"))
	g.Expect(a.link.Counters().Dropped).To(Equal(map[Cause]uint64{Malformed: 1, Spoofed: 2}))
}

func TestTableIsBounded(t *testing.T) {
	g := NewWithT(t)
	clock := new(testClock)
	clock.advance(time.Hour)
	table := newTable()
	table.perPort = make([]int, 4)
	table.fix(1, controlPort)
	for i := range 10 * tablePerPort {
		g.Expect(table.learn(mac(1000+i), 2, clock.now())).To(BeTrue())
	}
	g.Expect(table.size()).To(Equal(tablePerPort+1), "a flood of addresses grows it no further")
	g.Expect(table.learn(7, 3, clock.now())).To(BeTrue())
	port, ok := table.lookup(7, clock.now())
	g.Expect(ok).To(BeTrue(), "another port still learns")
	g.Expect(port).To(Equal(3))

	clock.advance(tableAge + time.Second)
	g.Expect(table.learn(99, 2, clock.now())).To(BeTrue())
	g.Expect(table.size()).To(Equal(2), "what has aged makes room")
	_, ok = table.lookup(1, clock.now())
	g.Expect(ok).To(BeTrue(), "endpoints of the fabric stay")
	g.Expect(table.learn(1, 2, clock.now())).To(BeFalse(), "and do not move")
}

// A guest that invents source addresses fills its own share of the table and disturbs nobody.
func TestAFloodOfSourcesIsBounded(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
	n, _ := f.Network("lan")
	const frames = 50_000
	for i := range frames / 100 {
		var block []byte
		for j := range 100 {
			block = append(block, onWire(ether(macFor("lan", controlRole), mac(0x0a0000000000+i*100+j), testType, ""))...)
		}
		_, err := a.conn.Write(block)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Eventually(func() uint64 { return a.link.Counters().ControlEgress.Frames }).WithTimeout(patience).Should(BeEquivalentTo(frames))
	g.Expect(n.sw.table.size()).To(BeNumerically("<=", tablePerPort+2))
	b.send(ether(broadcast, b.mac(), testType, "known"))
	c.recv()
	c.send(ether(b.mac(), c.mac(), testType, "found"))
	g.Expect(string(b.recv()[headerLen:])).To(Equal("found"))
	g.Expect(n.sw.table.size()).To(BeNumerically("<=", tablePerPort+4))
}
