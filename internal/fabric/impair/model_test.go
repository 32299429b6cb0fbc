package impair

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const full = 1514 // a full frame

func model(i Impairment) *Model { return seeded(1, i) }

func seeded(seed uint64, i Impairment) *Model {
	m := New(Key{Seed: seed, Network: "wan", Owner: "alice", Direction: "egress"})
	m.Set(i)
	return m
}

// run sends frames of a size at a regular distance.
func run(m *Model, frames, size int, every time.Duration) []Verdict {
	verdicts := make([]Verdict, frames)
	for i := range verdicts {
		verdicts[i] = m.Frame(time.Duration(i)*every, size)
	}
	return verdicts
}

func count(verdicts []Verdict, is func(Verdict) bool) int {
	n := 0
	for _, v := range verdicts {
		if is(v) {
			n++
		}
	}
	return n
}

func lost(v Verdict) bool { return v.Fate == Lost }

func TestNothingHappensWithoutAnImpairment(t *testing.T) {
	g := NewWithT(t)
	for i, v := range run(model(Impairment{}), 1000, full, time.Millisecond) {
		g.Expect(v).To(Equal(Verdict{Due: time.Duration(i) * time.Millisecond}))
	}
}

func TestDelayIsExact(t *testing.T) {
	g := NewWithT(t)
	for i, v := range run(model(Impairment{Delay: 50 * time.Millisecond}), 10000, full, 100*time.Microsecond) {
		g.Expect(v).To(Equal(Verdict{Due: time.Duration(i)*100*time.Microsecond + 50*time.Millisecond}))
	}
}

// The sequences are part of what a printed seed promises: they change with no version of Go and no other impairment.
func TestSequencesFollowFromTheSeed(t *testing.T) {
	g := NewWithT(t)
	want, err := os.ReadFile("testdata/sequences.txt")
	g.Expect(err).NotTo(HaveOccurred())
	var got strings.Builder
	for _, seed := range []uint64{0, 1, 42} {
		for _, kind := range []struct {
			name string
			Impairment
			is func(Verdict) bool
		}{
			{"loss 10 %", Impairment{LossPercent: 10}, lost},
			{"bursts", Impairment{Bursts: GilbertElliott{EnterPercent: 3, LeavePercent: 25, LossBadPercent: 100}}, lost},
			{"reorder 10 %", Impairment{Delay: time.Second, ReorderPercent: 10}, func(v Verdict) bool { return v.Reordered }},
			{"duplicate 10 %", Impairment{DuplicatePercent: 10}, func(v Verdict) bool { return v.Duplicated }},
			{"corrupt 10 %", Impairment{CorruptPercent: 10}, func(v Verdict) bool { return v.Corrupted }},
		} {
			fmt.Fprintf(&got, "seed %d, %s:", seed, kind.name)
			for i, v := range run(seeded(seed, kind.Impairment), 200, full, time.Millisecond) {
				if kind.is(v) {
					fmt.Fprintf(&got, " %d", i)
				}
			}
			got.WriteByte('\n')
		}
		fmt.Fprintf(&got, "seed %d, jitter:", seed)
		m := seeded(seed, Impairment{Delay: time.Second, Jitter: 100 * time.Millisecond})
		for i, v := range run(m, 10, full, time.Minute) {
			fmt.Fprintf(&got, " %v", v.Due-time.Duration(i)*time.Minute)
		}
		got.WriteByte('\n')
	}
	g.Expect(got.String()).To(Equal(string(want)))
}

func TestKeysHaveTheirOwnSequences(t *testing.T) {
	g := NewWithT(t)
	sequence := func(k Key) string {
		m := New(k)
		m.Set(Impairment{LossPercent: 50})
		var s strings.Builder
		for _, v := range run(m, 64, full, 0) {
			fmt.Fprint(&s, int(v.Fate))
		}
		return s.String()
	}
	base := Key{Seed: 1, Network: "wan", Owner: "alice", Direction: "egress"}
	seen := map[string]bool{sequence(base): true}
	for _, other := range []Key{
		{2, "wan", "alice", "egress"},
		{1, "lan", "alice", "egress"},
		{1, "wan", "bob", "egress"},
		{1, "wan", "alice", "ingress"},
		{1, "wana", "lice", "egress"},
	} {
		seen[sequence(other)] = true
	}
	g.Expect(seen).To(HaveLen(6))
	g.Expect(sequence(base)).To(Equal(sequence(base)))
}

// everything switches all on at once.
func everything() Impairment {
	return Impairment{
		Delay: 40 * time.Millisecond, Jitter: 5 * time.Millisecond, Distribution: Normal, LossPercent: 5, RateBits: 20e6,
		QueueBytes: 60000, ReorderPercent: 3, DuplicatePercent: 4, CorruptPercent: 6,
	}
}

// Each frame's luck with one kind is the same whatever else is on.
func TestNoKindMovesAnothersSequence(t *testing.T) {
	g := NewWithT(t)
	const frames = 5000
	all := run(model(everything()), frames, full, time.Millisecond)
	loss := run(model(Impairment{LossPercent: 5}), frames, full, 0)
	corrupt := run(model(Impairment{CorruptPercent: 6}), frames, full, 0)
	duplicate := run(model(Impairment{DuplicatePercent: 4}), frames, full, 0)
	reorder := run(model(Impairment{Delay: time.Hour, ReorderPercent: 3}), frames, full, 0)
	jitter := run(model(Impairment{Delay: 40 * time.Millisecond, Jitter: 5 * time.Millisecond, Distribution: Normal}), frames, full, time.Minute)
	plain := model(Impairment{RateBits: 20e6})
	losses, same := 0, 0
	for i, v := range all {
		g.Expect(lost(v)).To(Equal(lost(loss[i])), "frame %d", i)
		g.Expect(v.Corrupted).To(Equal(corrupt[i].Corrupted), "frame %d", i)
		g.Expect(v.Bit).To(Equal(corrupt[i].Bit), "frame %d", i)
		if lost(v) {
			losses++
			continue
		}
		now := time.Duration(i) * time.Millisecond
		g.Expect(v.Fate).To(Equal(Passed))
		g.Expect(v.Duplicated).To(Equal(duplicate[i].Duplicated), "frame %d", i)
		g.Expect(v.Reordered).To(Equal(i > 0 && reorder[i].Reordered), "frame %d", i)
		sent := plain.Frame(now, full).Due
		if duplicate[i].Duplicated {
			plain.Frame(now, full)
		}
		if drawn := jitter[i].Due - time.Duration(i)*time.Minute; !v.Reordered && (v.Due-sent-drawn).Abs() <= 1 {
			same++
		}
	}
	g.Expect(losses).To(BeNumerically("~", frames*5/100, 60))
	g.Expect(same).To(BeNumerically(">", frames/10), "the others wait for the frame before")
}

// within99 tells whether k of n is inside the 99 % interval of a chance in percent.
func within99(k, n int, percent float64) bool {
	p := percent / 100
	return math.Abs(float64(k)-float64(n)*p) <= 2.576*math.Sqrt(float64(n)*p*(1-p))+0.5
}

func TestChancesAreKept(t *testing.T) {
	g := NewWithT(t)
	const frames = 50_000
	for _, percent := range []float64{0.01, 0.5, 2, 15, 50, 95} {
		m := model(Impairment{
			Delay: time.Second, LossPercent: percent, ReorderPercent: percent, DuplicatePercent: percent, CorruptPercent: percent,
		})
		verdicts := run(m, frames, full, 0)
		likely := func(what string, verdicts []Verdict, is func(Verdict) bool) {
			k := count(verdicts, is)
			g.Expect(within99(k, len(verdicts), percent)).To(BeTrue(), "%s %v %%: %d of %d", what, percent, k, len(verdicts))
		}
		likely("loss", verdicts, lost)
		likely("corrupt", verdicts, func(v Verdict) bool { return v.Corrupted })
		passed := slices.DeleteFunc(verdicts, lost)
		likely("duplicate", passed, func(v Verdict) bool { return v.Duplicated })
		likely("reorder", passed, func(v Verdict) bool { return v.Due == 0 })
	}
	for _, v := range run(model(Impairment{LossPercent: 100}), 1000, full, 0) {
		g.Expect(v.Fate).To(Equal(Lost))
	}
}

func TestBurstsHaveTheirLossAndLength(t *testing.T) {
	g := NewWithT(t)
	const frames = 200_000
	ge := GilbertElliott{EnterPercent: 0.5, LeavePercent: 20, LossGoodPercent: 0.1, LossBadPercent: 100}
	verdicts := run(model(Impairment{LossPercent: 99, Bursts: ge}), frames, full, 0)
	g.Expect(float64(count(verdicts, lost))*100/frames).To(BeNumerically("~", ge.LossPercent(), 0.2), "and LossPercent has no say")

	pure := run(model(Impairment{Bursts: GilbertElliott{EnterPercent: 0.5, LeavePercent: 20, LossBadPercent: 100}}), frames, full, 0)
	bursts, in := 0, false
	for _, v := range pure {
		if lost(v) && !in {
			bursts++
		}
		in = lost(v)
	}
	g.Expect(float64(count(pure, lost))/float64(bursts)).To(BeNumerically("~", 5, 0.3), "frames in a burst")
	g.Expect(lost(pure[0])).To(BeFalse(), "it begins in the good state")
}

func TestRateIsKept(t *testing.T) {
	for _, test := range []struct {
		rate float64
		size int
	}{{56e3, 64}, {500e3, full}, {10e6, full}, {100e6, full}, {1e9, 64}, {10e9, full}, {10e9, 60}, {33.3e6, 9014}} {
		t.Run(fmt.Sprintf("%v %d", rate(test.rate), test.size), func(t *testing.T) {
			g := NewWithT(t)
			m := model(Impairment{RateBits: test.rate, QueueBytes: 100 * test.size})
			takes := time.Duration(float64(test.size) * 8e9 / test.rate)
			const frames = 10000
			verdicts := run(m, frames, test.size, takes/2) // Twice what the link can take.
			passed := slices.DeleteFunc(verdicts, func(v Verdict) bool { return v.Fate != Passed })
			g.Expect(len(passed)).To(BeNumerically("~", frames/2+100, 0.01*frames/2))
			span := passed[len(passed)-1].Due - passed[0].Due
			bits := float64(len(passed)-1) * float64(test.size) * 8
			g.Expect(bits / span.Seconds()).To(BeNumerically("~", test.rate, 0.01*test.rate))
			g.Expect(slices.IsSortedFunc(passed, func(a, b Verdict) int { return int(a.Due - b.Due) })).To(BeTrue())
		})
	}
}

func TestQueueHoldsWhatItShould(t *testing.T) {
	for name, test := range map[string]struct {
		Impairment
		want int // frames of a burst that pass
	}{
		"bytes":              {Impairment{RateBits: 1e6, QueueBytes: 20 * full}, 20},
		"bytes, not quite":   {Impairment{RateBits: 1e6, QueueBytes: 20*full - 1}, 19},
		"bytes before time":  {Impairment{RateBits: 1e6, QueueBytes: 5 * full, QueueTime: time.Hour}, 5},
		"time":               {Impairment{RateBits: 8 * full * 1000, QueueTime: 7 * time.Millisecond}, 7},
		"default time":       {Impairment{RateBits: 8 * full * 1000}, 200},
		"default, slow line": {Impairment{RateBits: 56e3}, 10},
		"less than a frame":  {Impairment{RateBits: 1e6, QueueBytes: 1}, 1},
		"no rate, no queue":  {Impairment{QueueBytes: 1}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			m := model(test.Impairment)
			verdicts := run(m, 1000, full, 0)
			for i, v := range verdicts {
				if i < test.want {
					g.Expect(v.Fate).To(Equal(Passed), "frame %d", i)
				} else {
					g.Expect(v.Fate).To(Equal(QueueFull), "frame %d", i)
				}
			}
			if test.RateBits == 0 {
				return
			}
			one := time.Duration(full * 8e9 / test.RateBits)
			g.Expect(m.Frame(one*11/10, full).Fate).To(Equal(Passed), "when one is sent there is room for one")
			g.Expect(m.Frame(time.Hour, full).Due).To(BeNumerically("~", time.Hour+one, 1), "an idle link sends at once")
		})
	}
}

func TestUniformJitter(t *testing.T) {
	g := NewWithT(t)
	const delay, jitter = 100 * time.Millisecond, 20 * time.Millisecond
	var took []float64
	for i, v := range run(model(Impairment{Delay: delay, Jitter: jitter}), 20_000, full, time.Second) {
		d := v.Due - time.Duration(i)*time.Second
		g.Expect(d).To(And(BeNumerically(">=", delay-jitter), BeNumerically("<=", delay+jitter)))
		took = append(took, d.Seconds())
	}
	mean, deviation := moments(took)
	g.Expect(mean).To(BeNumerically("~", delay.Seconds(), 0.0004))
	g.Expect(deviation).To(BeNumerically("~", jitter.Seconds()/math.Sqrt(3), 0.0004))
}

func TestNormalJitter(t *testing.T) {
	g := NewWithT(t)
	const delay, jitter = 100 * time.Millisecond, 20 * time.Millisecond
	var took []float64
	for i, v := range run(model(Impairment{Delay: delay, Jitter: jitter, Distribution: Normal}), 20_000, full, time.Second) {
		d := v.Due - time.Duration(i)*time.Second
		g.Expect(d).To(And(BeNumerically(">=", delay-maxSigma*jitter), BeNumerically("<=", delay+maxSigma*jitter)))
		took = append(took, d.Seconds())
	}
	mean, deviation := moments(took)
	g.Expect(mean).To(BeNumerically("~", delay.Seconds(), 0.0006))
	g.Expect(deviation).To(BeNumerically("~", jitter.Seconds(), 0.0006))
}

func moments(xs []float64) (mean, deviation float64) {
	for _, x := range xs {
		mean += x / float64(len(xs))
	}
	for _, x := range xs {
		deviation += (x - mean) * (x - mean) / float64(len(xs))
	}
	return mean, math.Sqrt(deviation)
}

func TestJitterIsNeverNegativeAndKeepsTheOrder(t *testing.T) {
	for _, d := range []Distribution{Uniform, Normal} {
		last := time.Duration(0)
		m := model(Impairment{Delay: 5 * time.Millisecond, Jitter: 50 * time.Millisecond, Distribution: d})
		for i, v := range run(m, 20_000, full, 100*time.Microsecond) {
			now := time.Duration(i) * 100 * time.Microsecond
			if v.Due < now || v.Due < last || v.Reordered {
				t.Fatalf("frame %d, sent at %v after one due at %v: %+v", i, now, last, v)
			}
			last = v.Due
		}
	}
}

func TestReorderedFramesAreSentAhead(t *testing.T) {
	g := NewWithT(t)
	const delay = 30 * time.Millisecond
	ahead := 0
	for i, v := range run(model(Impairment{Delay: delay, Jitter: time.Millisecond, ReorderPercent: 10}), 10_000, full, time.Millisecond) {
		now := time.Duration(i) * time.Millisecond
		if v.Reordered {
			ahead++
			g.Expect(v.Due).To(Equal(now))
		} else if v.Due != now { // Sent ahead, but there was none to overtake.
			g.Expect(v.Due).To(BeNumerically(">=", now+delay-time.Millisecond))
		}
	}
	g.Expect(within99(ahead, 10_000, 10)).To(BeTrue(), "%d sent ahead", ahead)

	sparse := run(model(Impairment{Delay: delay, ReorderPercent: 10}), 1000, full, time.Second)
	g.Expect(count(sparse, func(v Verdict) bool { return v.Reordered })).To(BeZero(), "there is nothing to overtake")

	rated := model(Impairment{Delay: delay, RateBits: full * 8 * 1000, ReorderPercent: 50})
	for i, v := range run(rated, 100, full, 0) {
		sent := time.Duration(i+1) * time.Millisecond
		if v.Due != sent {
			g.Expect(v.Due).To(BeNumerically("~", sent+delay, 1), "the rate holds for all")
		}
	}
}

func TestACopyFollowsItsFrame(t *testing.T) {
	g := NewWithT(t)
	m := model(Impairment{Delay: 10 * time.Millisecond, DuplicatePercent: 100})
	g.Expect(m.Frame(0, full)).To(Equal(Verdict{Due: 10 * time.Millisecond, Duplicated: true, CopyDue: 10 * time.Millisecond}))
	m = model(Impairment{DuplicatePercent: 100, RateBits: full * 8 * 1000, QueueBytes: 3 * full})
	g.Expect(m.Frame(0, full)).To(Equal(Verdict{Due: time.Millisecond, Duplicated: true, CopyDue: 2 * time.Millisecond}))
	g.Expect(m.Frame(0, full)).To(Equal(Verdict{Due: 3 * time.Millisecond}), "no room for its copy")
	g.Expect(m.Frame(0, full).Fate).To(Equal(QueueFull))
}

func TestCorruptionSparesTheHeader(t *testing.T) {
	g := NewWithT(t)
	hit := make(map[int]bool)
	for _, v := range run(model(Impairment{CorruptPercent: 100}), 5000, 64, 0) {
		g.Expect(v.Corrupted).To(BeTrue())
		hit[v.Bit] = true
	}
	g.Expect(hit).To(HaveLen(8 * 50))
	for bit := range hit {
		g.Expect(bit).To(And(BeNumerically(">=", 8*14), BeNumerically("<", 8*64)))
	}
	for _, v := range run(model(Impairment{CorruptPercent: 100}), 10, 14, 0) {
		g.Expect(v).To(Equal(Verdict{}), "nothing in it to corrupt")
	}
}

func TestAChangeIsInForceAtTheNextFrame(t *testing.T) {
	g := NewWithT(t)
	m := model(Impairment{Delay: time.Second})
	g.Expect(m.Frame(0, full).Due).To(Equal(time.Second))
	m.Set(Impairment{Delay: time.Millisecond})
	g.Expect(m.Frame(time.Millisecond, full).Due).To(Equal(2*time.Millisecond), "it does not wait for the one before")
	m.Set(Impairment{Delay: time.Millisecond, RateBits: 8 * full, QueueTime: 10 * time.Second})
	g.Expect(m.Frame(2*time.Millisecond, full).Due).To(Equal(1003 * time.Millisecond))
	m.Set(Impairment{Delay: time.Millisecond, RateBits: 8 * full, QueueTime: 10 * time.Second, LossPercent: 1e-9})
	g.Expect(m.Frame(2*time.Millisecond, full).Due).To(Equal(2003*time.Millisecond), "the rate is as before and so is its queue")
	m.Set(Impairment{Delay: time.Millisecond, RateBits: 8 * full * 1000})
	g.Expect(m.Frame(2*time.Millisecond, full).Due).To(Equal(4*time.Millisecond), "another rate has another queue")
	m.Set(Impairment{})
	g.Expect(m.Frame(2*time.Millisecond, full).Due).To(Equal(2 * time.Millisecond))
}

func TestTheSequenceGoesOnAfterAChange(t *testing.T) {
	g := NewWithT(t)
	whole := run(model(Impairment{LossPercent: 30}), 100, full, 0)
	m := model(Impairment{LossPercent: 30})
	parts := run(m, 50, full, 0)
	m.Set(Impairment{LossPercent: 30, Delay: time.Second, DuplicatePercent: 10})
	for _, v := range run(m, 50, full, 0) {
		parts = append(parts, Verdict{Fate: v.Fate})
	}
	for i := range whole {
		g.Expect(parts[i].Fate).To(Equal(whole[i].Fate), "frame %d", i)
	}
}

func TestClearLeavesAnIdleLink(t *testing.T) {
	g := NewWithT(t)
	m := model(Impairment{Delay: time.Second, RateBits: 8 * full, QueueTime: time.Minute})
	for range 10 {
		m.Frame(0, full)
	}
	m.Clear()
	g.Expect(m.Frame(0, full).Due).To(Equal(2 * time.Second))
}

// FuzzModel holds any valid impairment to what every one promises.
func FuzzModel(f *testing.F) {
	f.Add(uint64(1), int64(50e6), int64(10e6), 1, 1e8, 0, int64(0), 1.0, 2.0, 3.0, 4.0, 5.0, 30.0, uint16(1514), int64(1000))
	f.Add(uint64(2), int64(0), int64(9e9), 0, 1.0, 1, int64(5), 0.0, 100.0, 100.0, 100.0, 0.0, 0.0, uint16(0), int64(0))
	f.Add(uint64(3), int64(time.Hour), int64(time.Hour), 1, 9e18, 0, int64(time.Hour), 0.0, 0.0, 50.0, 0.0, 0.0, 0.0, uint16(65535), int64(time.Hour))
	f.Fuzz(func(t *testing.T, seed uint64, delay, jitter int64, spread int, bits float64, queue int, queueTime int64,
		loss, reorder, duplicate, corrupt, enter, leave float64, size uint16, every int64,
	) {
		i := Impairment{
			Delay: time.Duration(delay), Jitter: time.Duration(jitter), Distribution: Distribution(spread), LossPercent: loss,
			RateBits: bits, QueueBytes: queue, QueueTime: time.Duration(queueTime), ReorderPercent: reorder,
			DuplicatePercent: duplicate, CorruptPercent: corrupt,
			Bursts: GilbertElliott{EnterPercent: enter, LeavePercent: leave, LossBadPercent: 100},
		}
		if enter == 0 && leave == 0 {
			i.Bursts = GilbertElliott{}
		}
		if i.Validate() != nil || every < 0 || every > int64(time.Hour) || bits > 0 && bits < 1000 {
			return
		}
		m := seeded(seed, i)
		last, lastAhead := time.Duration(0), time.Duration(0)
		for n := range 200 {
			now := time.Duration(n) * time.Duration(every)
			v := m.Frame(now, int(size))
			if v.Fate != Passed {
				if v.Fate == Lost && loss == 0 && i.Bursts.IsZero() || v.Fate == QueueFull && bits == 0 || v.Duplicated {
					t.Fatalf("frame %d: %+v of %v", n, v, i)
				}
				continue
			}
			if v.Due < now || v.Duplicated && v.CopyDue < v.Due {
				t.Fatalf("frame %d, sent at %v, arrives before: %+v of %v", n, now, v, i)
			}
			if v.Corrupted && (v.Bit < 8*headerBytes || v.Bit >= 8*int(size)) {
				t.Fatalf("frame %d of %d bytes: %+v of %v", n, size, v, i)
			}
			if reorder == 0 && v.Due < last || v.Reordered && v.Due < lastAhead {
				t.Fatalf("frame %d overtakes another: %+v of %v", n, v, i)
			}
			last = max(v.Due, v.CopyDue)
			if v.Reordered {
				lastAhead = v.Due
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	m := model(everything())
	b.ReportAllocs()
	for i := range b.N {
		m.Frame(time.Duration(i)*time.Millisecond, full)
	}
}
