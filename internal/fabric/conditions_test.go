package fabric

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/impair"
)

func TestALinkThatIsDownPassesNothing(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	g.Expect(a.link.Up()).To(BeTrue())
	a.link.SetUp(false)
	g.Expect(a.link.Up()).To(BeFalse())
	a.send(ether(broadcast, a.mac(), testType, "out"))
	b.silent()
	b.send(ether(broadcast, b.mac(), testType, "in"))
	a.silent()
	g.Expect(a.link.Counters().Dropped).To(Equal(map[Cause]uint64{LinkDown: 2}))
	g.Expect(a.link.Counters().Egress.Frames).To(BeEquivalentTo(1), "the guest did send it")
	a.link.SetUp(true)
	a.send(ether(broadcast, a.mac(), testType, "again"))
	g.Expect(string(b.recv()[headerLen:])).To(Equal("again"))
}

func TestConditionsAreCheckedAndKept(t *testing.T) {
	g := NewWithT(t)
	network := lan(2)
	network.Hosts[0].Conditions.Egress.Delay = time.Millisecond
	f := newFabric(t, nil, network)
	link, err := f.Link("a", "lan")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(link.Conditions()).To(Equal(network.Hosts[0].Conditions))
	err = link.SetConditions(Conditions{Egress: impair.Impairment{LossPercent: 120}, Ingress: impair.Impairment{Delay: -1}})
	g.Expect(err).To(MatchError(`set the conditions of "a" on network "lan": egress: loss 120 %, want 0 to 100 %` +
		"\ningress: delay -1ns, want 0 to 1h0m0s"))
	g.Expect(link.Conditions()).To(Equal(network.Hosts[0].Conditions), "as before")
	g.Expect(link.SetConditions(Conditions{})).To(Succeed())
	g.Expect(link.Conditions()).To(BeZero())

	network.Hosts[0].Conditions.Egress.Delay = -1
	_, err = New(Config{Dir: t.TempDir(), Networks: []NetworkConfig{network}})
	g.Expect(err).To(MatchError(`network "lan": node "a": egress: delay -1ns, want 0 to 1h0m0s`))
}

// logTap keeps what it sees.
type logTap struct {
	mu   sync.Mutex
	seen []string
}

func (l *logTap) egress(batch []*frame)  { l.note("egress", batch) }
func (l *logTap) ingress(batch []*frame) { l.note("ingress", batch) }

func (l *logTap) note(way string, batch []*frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range batch {
		l.seen = append(l.seen, way+" "+string(f.bytes()[headerLen:]))
	}
}

func (l *logTap) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seen)
}

func TestATapSeesDataAsSentAndAsArrived(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	at, bt := new(logTap), new(logTap)
	a.link.setTap(at)
	b.link.setTap(bt)
	a.send(arpRequest(a.host, addr4(20, 2)))
	a.recv()
	a.send(ether(broadcast, a.mac(), testType, "seen"))
	b.recv()
	g.Expect(f.Block("a", "b")).To(Succeed())
	a.send(ether(broadcast, a.mac(), testType, "blocked"))
	b.silent()
	g.Expect(at.list()).To(Equal([]string{"egress seen", "egress blocked"}), "the control path is not seen")
	g.Expect(bt.list()).To(Equal([]string{"ingress seen"}))
	a.link.setTap(nil)
	a.send(ether(broadcast, a.mac(), testType, "unseen"))
	b.silent()
	g.Expect(at.list()).To(HaveLen(2))
}

// number makes frame n from one wire to another.
func number(to, from *wire, n int) []byte {
	return ether(to.mac(), from.mac(), testType, string(binary.BigEndian.AppendUint32(nil, uint32(n))))
}

func numberOf(b []byte) int { return int(binary.BigEndian.Uint32(b[headerLen:])) }

// introduce lets the switch learn where all are.
func introduce(wires ...*wire) {
	for _, w := range wires {
		w.send(ether(broadcast, w.mac(), testType, "hello"))
		for _, o := range wires {
			if o != w {
				o.recv()
			}
		}
	}
}

func set(t testing.TB, l *Link, c Conditions) {
	t.Helper()
	NewWithT(t).Expect(l.SetConditions(c)).To(Succeed())
}

func TestLossIsThatOfTheSeed(t *testing.T) {
	g := NewWithT(t)
	const frames = 300
	half := impair.Impairment{LossPercent: 50}
	f := newFabric(t, func(c *Config) { c.Seed = 7 }, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	introduce(a, b)
	set(t, a.link, Conditions{Egress: half})
	m := impair.New(impair.Key{Seed: 7, Network: "lan", Owner: "a", Direction: "egress"})
	m.Set(half)
	var want []int
	for n := range frames {
		a.send(number(b, a, n))
		if m.Frame(0, 18).Fate == impair.Passed {
			want = append(want, n)
		}
	}
	var got []int
	for range want {
		got = append(got, numberOf(b.recv()))
	}
	g.Expect(got).To(Equal(want))
	g.Expect(a.link.Counters().Dropped).To(Equal(map[Cause]uint64{Lost: uint64(frames - len(want))}))
	b.silent()
}

// Each direction of each link has its own conditions, and they add up along the way.
func TestDirectionsAreApart(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	introduce(a, b)
	set(t, a.link, Conditions{
		Egress:  impair.Impairment{Delay: 50 * time.Millisecond},
		Ingress: impair.Impairment{Delay: 5 * time.Millisecond},
	})
	set(t, b.link, Conditions{Ingress: impair.Impairment{Delay: 30 * time.Millisecond}})
	took := func(from, to *wire) time.Duration {
		var all []time.Duration
		for n := range 9 {
			began := time.Now()
			from.send(number(to, from, n))
			g.Expect(numberOf(to.recv())).To(Equal(n))
			all = append(all, time.Since(began))
		}
		return slices.Min(all)
	}
	g.Expect(took(a, b)).To(And(BeNumerically(">=", 80*time.Millisecond), BeNumerically("<", 130*time.Millisecond)))
	g.Expect(took(b, a)).To(And(BeNumerically(">=", 5*time.Millisecond), BeNumerically("<", 75*time.Millisecond)))
}

func TestConditionsChangeAtTheNextFrame(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	introduce(a, b)
	set(t, a.link, Conditions{Egress: impair.Impairment{Delay: 600 * time.Millisecond}})
	began := time.Now()
	a.send(number(b, a, 1))
	g.Eventually(func() uint64 { return a.link.Counters().Egress.Frames }).WithTimeout(patience).Should(BeEquivalentTo(2))
	set(t, a.link, Conditions{})
	a.send(number(b, a, 2))
	g.Expect(numberOf(b.recv())).To(Equal(2))
	g.Expect(time.Since(began)).To(BeNumerically("<", 600*time.Millisecond))
	g.Expect(numberOf(b.recv())).To(Equal(1))
	g.Expect(time.Since(began)).To(BeNumerically(">=", 600*time.Millisecond))
}

func TestRateLimitsAFlow(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	introduce(a, b)
	const frames, size = 200, 1514
	set(t, a.link, Conditions{Egress: impair.Impairment{RateBits: 8 * size * 1000, QueueBytes: (frames + 1) * size}})
	frame := append(number(b, a, 0), make([]byte, size-18)...)
	for range frames {
		a.send(frame)
	}
	b.recv()
	began := time.Now()
	for range frames - 1 {
		b.recv()
	}
	g.Expect(time.Since(began)).To(And(
		BeNumerically(">", (frames-50)*time.Millisecond), BeNumerically("<", frames*time.Millisecond+patience)), "the fake clock's tests are exact")
	for range 5 * frames {
		a.send(frame)
	}
	g.Eventually(func() uint64 { return a.link.Counters().Egress.Frames }).WithTimeout(patience).Should(BeEquivalentTo(6*frames + 1))
	dropped := a.link.Counters().Dropped[QueueFull]
	g.Expect(dropped).To(And(BeNumerically(">", 0), BeNumerically("<", 4*frames)), "the queue takes as much as before")
}

// Held frames and impaired links take nothing from others: neither their order nor their time.
func TestFloodedLanesKeepTheOrder(t *testing.T) {
	const senders, frames = 3, 1000
	f := newFabric(t, nil, lan(senders+1))
	b := connect(t, f, "d", "lan")
	wires := []*wire{b}
	for i := range senders {
		wires = append(wires, connect(t, f, string(rune('a'+i)), "lan"))
	}
	introduce(wires...)
	wires = wires[1:]
	set(t, b.link, Conditions{Ingress: impair.Impairment{Delay: 2 * time.Millisecond, Jitter: 2 * time.Millisecond, RateBits: 2e9}})
	set(t, wires[0].link, Conditions{Egress: impair.Impairment{Delay: 3 * time.Millisecond, Jitter: 3 * time.Millisecond}})
	var got atomic.Int64
	var over atomic.Bool
	var sending sync.WaitGroup
	defer sending.Wait()
	defer over.Store(true)
	for _, w := range wires {
		sending.Go(func() {
			tick := time.NewTicker(100 * time.Microsecond)
			defer tick.Stop()
			for n := range frames {
				for int64(n*senders) > got.Load()+500 && !over.Load() { // Within the room of the receiver's queue.
					<-tick.C
				}
				if _, err := w.conn.Write(onWire(number(b, w, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := make(map[mac]int)
	for range senders * frames {
		frame, err := b.tryRecv(patience)
		if err != nil {
			t.Fatalf("after %v: %v; %+v", next, err, b.link.Counters())
		}
		got.Add(1)
		src := macOf(frame[6:])
		if n := numberOf(frame); n != next[src] {
			t.Fatalf("frame %d of %s where %d was next", n, src, next[src])
		}
		next[src]++
	}
}

func TestEveryKindOfFramePassesImpairedLinks(t *testing.T) {
	network := lan(3)
	for i := range network.Hosts {
		c := impair.Impairment{Delay: time.Millisecond, RateBits: 1e9, QueueBytes: 1 << 20}
		network.Hosts[i].Conditions = Conditions{Egress: c, Ingress: c}
	}
	everyKindPasses(t, network)
}

// The control path works whatever has been done to the data path.
func TestControlPathSurvivesEverything(t *testing.T) {
	everywhere := func(f *Fabric, do func(*Link)) {
		for _, n := range f.Networks() {
			for _, l := range n.Links() {
				do(l)
			}
		}
	}
	for name, cut := range map[string]func(t *testing.T, f *Fabric){
		"loss": func(t *testing.T, f *Fabric) {
			all := impair.Impairment{LossPercent: 100}
			everywhere(f, func(l *Link) { set(t, l, Conditions{Egress: all, Ingress: all}) })
		},
		"slow and far": func(t *testing.T, f *Fabric) {
			all := impair.Impairment{Delay: time.Hour, RateBits: 1}
			everywhere(f, func(l *Link) { set(t, l, Conditions{Egress: all, Ingress: all}) })
		},
		"down": func(_ *testing.T, f *Fabric) { everywhere(f, func(l *Link) { l.SetUp(false) }) },
		"partition": func(t *testing.T, f *Fabric) {
			for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
				NewWithT(t).Expect(f.Block(pair[0], pair[1])).To(Succeed())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newFabric(t, nil, lan(2))
			a, b := boot(t, f, "a", "lan"), boot(t, f, "b", "lan")
			echo(t, a.listen(t, 22))
			cut(t, f)
			conn, err := f.Dial(within(t), "a", 22)
			g.Expect(err).NotTo(HaveOccurred())
			roundTrip(t, conn, strings.Repeat("still here ", 20000))
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err = b.dial(ctx, "10.20.0.11:22")
			g.Expect(err).To(HaveOccurred(), "the data path is cut")
		})
	}
}

// A partition that is made and healed is only silence to a connection.
func TestATCPConnectionSurvivesAPartition(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := boot(t, f, "a", "lan"), boot(t, f, "b", "lan")
	echo(t, a.listen(t, 80))
	conn, err := b.dial(within(t), "10.20.0.11:80")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Block("a", "b")).To(Succeed())
	_, err = io.WriteString(conn, "into the dark, ")
	g.Expect(err).NotTo(HaveOccurred())
	link, _ := f.Link("b", "lan")
	g.Eventually(func() uint64 { return link.Counters().Dropped[Partitioned] }).WithTimeout(patience).Should(BeNumerically(">", 0))
	g.Expect(f.Unblock("a", "b")).To(Succeed())
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "and back")
	g.Expect(err).NotTo(HaveOccurred())
	back := make([]byte, len("into the dark, and back"))
	_, err = io.ReadFull(conn, back)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(back)).To(Equal("into the dark, and back"))
	_ = conn.Close()
}

func TestDiscardDropsWhatIsUnderWay(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	introduce(a, b)
	set(t, a.link, Conditions{Egress: impair.Impairment{Delay: 100 * time.Millisecond, RateBits: 8e4, QueueTime: time.Second}})
	for n := range 3 {
		a.send(number(b, a, n))
	}
	g.Eventually(func() int {
		a.link.lanes[Egress].mu.Lock()
		defer a.link.lanes[Egress].mu.Unlock()
		return a.link.lanes[Egress].line.n
	}).WithTimeout(patience).WithPolling(time.Millisecond).Should(Equal(3))
	f.Discard()
	a.send(number(b, a, 3))
	g.Expect(numberOf(b.recv())).To(Equal(3))
	b.silent()
}

func TestCloseGivesUpWhatIsHeld(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	introduce(a, b)
	for _, w := range []*wire{a, b} {
		set(t, w.link, Conditions{Egress: impair.Impairment{Delay: time.Hour}, Ingress: impair.Impairment{Delay: time.Hour}})
		for n := range 100 {
			w.send(number(a, w, n), ether(broadcast, w.mac(), testType, "all"))
		}
	}
	held := func() (n int) {
		for _, l := range []*lane{a.link.lanes[Egress], b.link.lanes[Egress]} {
			l.mu.Lock()
			n += l.line.n
			l.mu.Unlock()
		}
		return n
	}
	g.Eventually(held).WithTimeout(patience).Should(Equal(400))
	g.Expect(f.Close()).To(Succeed())
	for _, w := range []*wire{a, b} {
		for _, l := range w.link.lanes {
			g.Expect(l.line.n + len(l.line.early)).To(BeZero())
			g.Expect(l.line.memory).To(BeZero())
		}
	}
}
