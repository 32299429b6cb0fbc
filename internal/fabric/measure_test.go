package fabric

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/impair"
)

const ms = time.Millisecond

// impose makes a fabric of one network with a node for each of the conditions.
func impose(t *testing.T, conditions ...Conditions) (*Fabric, []*Link) {
	t.Helper()
	n := lan(len(conditions))
	for i := range n.Hosts {
		n.Hosts[i].Conditions = conditions[i]
	}
	f := newFabric(t, nil, n)
	return f, network(t, f, "lan").Links()
}

// measured measures until all is well: other programs may take the processors for a while.
func measured(t *testing.T, f *Fabric, links ...*Link) []Measurement {
	t.Helper()
	var results []Measurement
	NewWithT(t).Eventually(func() (err error) {
		results, err = f.Measure(t.Context(), links...)
		return err
	}).WithTimeout(2 * time.Minute).Should(Succeed())
	for _, m := range results {
		t.Logf("%s in %s", m, round(m.Took))
	}
	return results
}

func TestLinksThatDoWhatWasAskedMeasureWell(t *testing.T) {
	g := NewWithT(t)
	bursts := impair.GilbertElliott{EnterPercent: 1, LeavePercent: 20, LossBadPercent: 50}
	preset := func(delay, jitter time.Duration, loss, rate float64) Conditions {
		i := impair.Impairment{Delay: delay, Jitter: jitter, LossPercent: loss, RateBits: rate}
		return Conditions{Egress: i, Ingress: i}
	}
	f, _ := impose(
		t,
		Conditions{Egress: impair.Impairment{Delay: 50 * ms}, Ingress: impair.Impairment{Delay: 100 * ms, Jitter: 20 * ms}},
		Conditions{Egress: impair.Impairment{LossPercent: 5, DuplicatePercent: 10, CorruptPercent: 20}, Ingress: impair.Impairment{Bursts: bursts}},
		Conditions{Egress: impair.Impairment{RateBits: 1e6}, Ingress: impair.Impairment{RateBits: 100e6, Delay: 60 * ms, Jitter: 10 * ms, Distribution: impair.Normal}},
		Conditions{Egress: impair.Impairment{RateBits: 20e6, QueueBytes: 15140}, Ingress: impair.Impairment{LossPercent: 100, Delay: 10 * ms}},
		Conditions{Egress: impair.Impairment{Delay: 20 * ms, ReorderPercent: 30, RateBits: 64e3}},
		preset(2*ms, ms, 0.01, 1e9),
		preset(150*ms, 80*ms, 15, 2e6),
		preset(20*ms, 0, 50, 500e3),
		Conditions{},
	)
	began := time.Now()
	results := measured(t, f)
	g.Expect(time.Since(began)).To(BeNumerically("<", 3*time.Minute))
	g.Expect(results).To(HaveLen(16), "both directions of the links that have impairments")
	a, b, c := results[1], results[2], results[5]
	g.Expect([]string{a.Owner, a.Network, a.Direction.String()}).To(Equal([]string{"a", "lan", "ingress"}))
	g.Expect(a.Delay).To(BeNumerically("~", 100*ms, 10*ms))
	g.Expect(a.JitterSpread).To(BeNumerically("~", 20*ms, 8*ms))
	g.Expect(a.LossPercent).To(BeZero())
	g.Expect(a.Trains).To(BeZero())
	g.Expect(b.LossPercent).To(BeNumerically("~", 5, 2))
	g.Expect(b.Probes).To(Equal(lossProbes))
	g.Expect(c.RateBits).To(BeNumerically("~", 100e6, 20e6))
	g.Expect(results[7].DelaySamples).To(BeZero(), "nothing arrives")
}

func TestALinkThatLiesIsFoundOut(t *testing.T) {
	asked := impair.Impairment{Delay: 40 * ms, LossPercent: 1, RateBits: 10e6}
	lies := []struct {
		does func(*impair.Impairment)
		want string
	}{
		{func(i *impair.Impairment) { i.Delay *= 2 }, "the delay is 8"},
		{func(i *impair.Impairment) { i.Delay = 0 }, "the delay is -?[0-9]+µs"},
		{func(i *impair.Impairment) { i.Jitter = 40 * ms; i.Delay += 20 * ms }, "the delay is [678]"},
		{func(i *impair.Impairment) { i.LossPercent = 4 }, " of 2000 probes [(]"},
		{func(i *impair.Impairment) { i.LossPercent = 0 }, "0 of 2000 probes [(]0 %[)] were lost"},
		{func(i *impair.Impairment) { i.RateBits = 0 }, "the rate is [0-9.e+]+ Mbit/s, want 10"},
		{func(i *impair.Impairment) { i.RateBits = 12e6 }, "the rate is 1"},
		{func(i *impair.Impairment) { i.RateBits = 8e6 }, "the rate is [78]"},
	}
	conditions := make([]Conditions, len(lies)+1)
	for i := range conditions {
		conditions[i].Egress = asked
	}
	f, links := impose(t, conditions...)
	for i, lie := range lies {
		does := asked
		lie.does(&does)
		links[i].lanes[Egress].set(does) // Behind the back of the conditions.
	}
	links[len(lies)].setStage(Egress, nil)
	beats := newPulse(f.scheduler, f.pool)
	defer beats.stop()
	var all sync.WaitGroup
	for i, l := range links {
		want := []string{"the delay is -?[0-9]", " were lost", "the rate is [0-9]"} // Of a link without its stage.
		if i < len(lies) {
			want = []string{lies[i].want}
		}
		all.Go(func() {
			g := NewWithT(t)
			g.Eventually(func(g Gomega) { // Other programs may take the processors for a while.
				m, err := l.measure(t.Context(), Egress, 1, beats)
				g.Expect(err).NotTo(HaveOccurred())
				err = m.Check()
				g.Expect(err).To(MatchError(ErrMeasured))
				g.Expect(err).To(MatchError(HavePrefix("a link does not do what was asked of it: egress of %s on network lan, "+
					"asked: delay 40ms, loss 1 %%, rate 10 Mbit/s; ", l.Owner())))
				for _, text := range want {
					g.Expect(err).To(MatchError(MatchRegexp(text)))
				}
			}).WithTimeout(2 * time.Minute).Should(Succeed())
		})
	}
	all.Wait()
}

func TestAWrongMeasurementIsRepeated(t *testing.T) {
	t.Parallel() // It waits most of the time.
	g := NewWithT(t)
	f, links := impose(t, Conditions{Ingress: impair.Impairment{Delay: 20 * ms}}, Conditions{Ingress: impair.Impairment{Delay: 20 * ms}})
	for _, l := range links {
		l.lanes[Ingress].set(impair.Impairment{Delay: 80 * ms})
	}
	honest := time.AfterFunc(time.Second, func() { links[0].lanes[Ingress].set(impair.Impairment{Delay: 20 * ms}) })
	defer honest.Stop()
	results, err := f.Measure(t.Context())
	g.Expect(err).To(MatchError(ErrMeasured))
	g.Expect(err).To(MatchError(ContainSubstring("ingress of b")))
	g.Expect(results).To(HaveLen(4))
	g.Expect(results[1].Delay).To(BeNumerically("~", 20*ms, 5*ms), "what was wrong for a moment")
	g.Expect(results[3].Delay).To(BeNumerically("~", 80*ms, 10*ms))
}

// survivors are what is left of frames that a node sends through a lossy link.
func survivors(t *testing.T, meanwhile func(*Fabric)) string {
	t.Helper()
	n := lan(2)
	n.Hosts[0].Conditions.Egress = impair.Impairment{LossPercent: 50, Delay: ms}
	f := newFabric(t, func(c *Config) { c.Seed = 7 }, n)
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	var arrived strings.Builder
	for i := range 40 {
		if i == 20 && meanwhile != nil {
			meanwhile(f)
		}
		a.send(ether(b.mac(), a.mac(), testType, fmt.Sprintf("%02d ", i)))
	}
	for {
		frame, err := b.tryRecv(200 * ms)
		if err != nil {
			return arrived.String()
		}
		arrived.Write(frame[headerLen:])
	}
}

func TestProbesChangeNothingForGuests(t *testing.T) {
	t.Parallel() // It waits most of the time.
	g := NewWithT(t)
	undisturbed := survivors(t, nil)
	g.Expect(len(undisturbed)).To(BeNumerically("~", 60, 40))
	g.Expect(survivors(t, func(f *Fabric) {
		g.Eventually(func() uint64 {
			return f.networks[0].links["a"].Counters().Dropped[Lost] + f.networks[0].links["b"].Counters().Ingress.Frames
		}).WithTimeout(patience).Should(BeEquivalentTo(20))
		before, ring := links(f), new(bytes.Buffer)
		g.Expect(measured(t, f)).To(HaveLen(2))
		g.Expect(links(f)).To(Equal(before), "not counted")
		g.Expect(network(t, f, "lan").Recent(ring)).To(Succeed())
		packets, _ := readCapture(t, ring.Bytes())
		for _, p := range packets {
			g.Expect(p.text).To(HaveLen(3), "a guest's frame")
		}
	})).To(Equal(undisturbed))
}

// links are the counters of all links.
func links(f *Fabric) []string {
	var all []string
	for _, l := range f.networks[0].ordered {
		all = append(all, l.Counters().String())
	}
	return all
}

func TestMeasuringEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	f, links := impose(t, Conditions{Egress: impair.Impairment{Delay: time.Minute}})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*ms, fmt.Errorf("no more patience"))
	defer cancel()
	began := time.Now()
	_, err := f.Measure(ctx, links[0])
	g.Expect(err).To(MatchError(ContainSubstring("measure the egress of a on network lan: no more patience")))
	g.Expect(time.Since(began)).To(BeNumerically("<", patience))
}

func TestALinkWithoutImpairmentsMeasuresAsNone(t *testing.T) {
	t.Parallel() // It waits most of the time.
	g := NewWithT(t)
	f, links := impose(t, Conditions{}, Conditions{})
	results, err := f.Measure(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(results).To(BeEmpty())
	results = measured(t, f, links[1])
	g.Expect(results).To(HaveLen(2))
	g.Expect(results[0].Owner).To(Equal("b"))
	g.Expect(results[0].Delay).To(BeNumerically("<", 2*ms))
	g.Expect(results[0].Probes).To(Equal(lossProbes))
}

func TestProbesAreToldByTheirNumberAlsoWhenCorrupted(t *testing.T) {
	g := NewWithT(t)
	f := newProbe(new(framePool), 1234567, probeLen)
	g.Expect(f.len()).To(Equal(probeLen))
	g.Expect(f.etherType()).To(BeEquivalentTo(0x88b5))
	for bit := range 8 * probeLen {
		f.bytes()[bit/8] ^= 0x80 >> (bit % 8)
		g.Expect(probeNumber(f)).To(Equal(1234567))
		f.bytes()[bit/8] ^= 0x80 >> (bit % 8)
	}
}

func TestTrainsFitIntoQueueAndTime(t *testing.T) {
	for name, c := range map[string]struct {
		asked        impair.Impairment
		frames, size int
	}{
		"default queue": {impair.Impairment{RateBits: 100e6}, 825, 1514},
		"1 Gbit/s":      {impair.Impairment{RateBits: 1e9}, 512, 9014},
		"10 Gbit/s":     {impair.Impairment{RateBits: 10e9}, 512, 9014},
		"200 Mbit/s":    {impair.Impairment{RateBits: 200e6}, 512, 4882},
		"1 Mbit/s":      {impair.Impairment{RateBits: 1e6}, 208, 60},
		"64 kbit/s":     {impair.Impairment{RateBits: 64e3}, 32, 60},
		"small queue":   {impair.Impairment{RateBits: 100e6, QueueBytes: 3000}, 45, 60},
		"short queue":   {impair.Impairment{RateBits: 100e6, QueueTime: 10 * ms}, 513, 219},
		"tiny queue":    {impair.Impairment{RateBits: 100e6, QueueBytes: 100}, 1, 60},
		"1 kbit/s":      {impair.Impairment{RateBits: 1e3}, 2, 60},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			frames, size := trainOf(c.asked)
			g.Expect([]int{frames, size}).To(Equal([]int{c.frames, c.size}))
			g.Expect(float64(frames * size)).To(BeNumerically("<=", 0.9*float64(queueRoom(c.asked))))
		})
	}
}

func TestSpacingDoesNotMindLateArrivals(t *testing.T) {
	g := NewWithT(t)
	began := time.Now()
	always := func(time.Time) bool { return true }
	arrivals := func(after func(i int) time.Duration) []probe {
		train := make([]probe, 100)
		for i := range train {
			train[i].came = began.Add(after(i))
		}
		return train
	}
	late := arrivals(func(i int) time.Duration {
		switch {
		case i == 99:
			return time.Second
		case i%3 > 0:
			return time.Duration(i)*ms + time.Duration(i%7)*ms/2
		default:
			return time.Duration(i) * ms
		}
	})
	late[50].came = time.Time{}
	apart, ok := spacing(late, ms, always)
	g.Expect(ok).To(BeTrue())
	g.Expect(apart).To(Equal(ms))
	apart, _ = spacing(late, ms/10, always)
	g.Expect(apart).To(BeNumerically("~", ms, ms/5), "also where something else is expected")
	apart, ok = spacing(arrivals(func(int) time.Duration { return 0 }), ms, always)
	g.Expect(ok).To(BeTrue())
	g.Expect(apart).To(BeEquivalentTo(1), "no rate at all")
	for name, from := range map[string]time.Duration{"the beginning": 30 * ms, "the end": 0} {
		_, ok = spacing(late, ms, func(at time.Time) bool { return !at.Before(began.Add(from)) && at.Before(began.Add(from+70*ms)) })
		g.Expect(ok).To(BeFalse(), "%s was not noted in time", name)
	}
}

func TestThePulseTellsWhatIsTimely(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	p := &pulse{beats: []time.Time{now, now.Add(ms), now.Add(2 * ms), now.Add(50 * ms), now.Add(51 * ms)}}
	for after, timely := range map[time.Duration]bool{
		-ms: false, ms / 2: false, // Nothing is known of the time before.
		3 * ms / 2: true, 2*ms + ms/4: true, 4 * ms: false,
		50*ms + ms/4: false, // The round in which everything arrived that had been due meanwhile.
		51*ms + ms/4: true, 60 * ms: false,
	} {
		g.Expect(p.timely(now.Add(after), 3*ms/2)).To(Equal(timely), "after %s", after)
	}
	f, _ := impose(t)
	beating := newPulse(f.scheduler, f.pool)
	g.Eventually(func() bool { return beating.timely(time.Now(), 3*ms/2) }).WithTimeout(time.Minute).WithPolling(ms).Should(BeTrue())
	beating.stop()
	g.Expect(*f.scheduler.lanes.Load()).To(BeEmpty())
	g.Eventually(func() bool { return beating.timely(time.Now(), 3*ms/2) }).WithTimeout(time.Minute).Should(BeFalse())
}

func TestJudgingDelays(t *testing.T) {
	g := NewWithT(t)
	var m Measurement
	m.Asked.ReorderPercent = 40
	delays := make([]time.Duration, 1000)
	for i := range delays {
		if i >= 400 {
			delays[i] = 40*ms + time.Duration(i-400)*ms/30 // 40 to 60 ms
		}
	}
	m.judgeDelays(delays)
	g.Expect(m.DelaySamples).To(Equal(1000))
	g.Expect(m.Delay).To(BeNumerically("~", 50*ms, ms), "frames sent ahead do not count")
	g.Expect(m.JitterSpread).To(BeNumerically("~", 10*ms, ms/2))
	m.Asked.Distribution = impair.Normal
	m.judgeDelays(delays)
	g.Expect(m.JitterSpread).To(BeNumerically("~", 6.83*1e6, 1e5))
}

func TestARoutersLinkIsMeasuredLikeAnyOther(t *testing.T) {
	t.Parallel() // It waits most of the time.
	g := NewWithT(t)
	f, _ := twoSites(t, preset(t, "full-cone"), func(c *Config) {
		c.Routers[0].Outside.Conditions.Egress = impair.Impairment{Delay: 30 * ms, RateBits: 5e6}
	})
	results := measured(t, f)
	g.Expect(results).To(HaveLen(2))
	g.Expect(results[0].Owner + "@" + results[0].Network).To(Equal("gw@wan"))
	g.Expect(results[0].Delay).To(BeNumerically("~", 30*ms, 5*ms))
	g.Expect(results[0].RateBits).To(BeNumerically("~", 5e6, 1e6))
}
