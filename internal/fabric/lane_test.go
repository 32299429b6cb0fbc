package fabric

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/impair"
)

// fakeAlarm rings when a test looks at it.
type fakeAlarm struct {
	clock *testClock
	at    int64 // by the test's clock; 0 is not set
}

func (a *fakeAlarm) set(d time.Duration) { a.at = a.clock.ns.Load() + int64(max(d, 1)) }
func (a *fakeAlarm) wait() bool          { return false }
func (a *fakeAlarm) close() error        { return nil }

// rig is lanes behind each other, driven by a clock that jumps from event to event.
type rig struct {
	clock     *testClock
	alarm     *fakeAlarm
	scheduler *scheduler
	pool      *framePool
	link      *Link // whose counters count
	first     *lane
	got       []arrivedFrame
	late      time.Duration // by which each alarm rings too late
}

type arrivedFrame struct {
	number uint32
	at     time.Duration // since the rig began
	whole  bool          // its number has not been hit
}

// newRig makes a lane for each impairment, egress first.
func newRig(impairments ...impair.Impairment) *rig {
	r := &rig{clock: new(testClock), pool: new(framePool)}
	r.alarm = &fakeAlarm{clock: r.clock}
	r.scheduler = newScheduler(r.clock.now, r.alarm)
	r.link = &Link{sw: newSwitch(r.pool, r.clock.now)}
	next := r.arrive
	for i, impairment := range slices.Backward(impairments) {
		d := Direction(i)
		r.link.next[d] = next
		key := impair.Key{Seed: 1, Network: "lan", Owner: "a", Direction: d.String()}
		r.first = newLane(r.link, d, key, r.scheduler)
		r.first.set(impairment)
		next = r.first.accept
	}
	return r
}

func (r *rig) arrive(batch []*frame) {
	for _, f := range batch {
		b := f.bytes()
		number := binary.BigEndian.Uint32(b[headerLen:])
		r.got = append(r.got, arrivedFrame{number, time.Duration(r.clock.ns.Load()), number == binary.BigEndian.Uint32(b[len(b)-4:])})
	}
	r.pool.release(batch)
}

// until lets the time pass, alarms included.
func (r *rig) until(t time.Duration) {
	for r.alarm.at > 0 && r.alarm.at+int64(r.late) <= int64(t) {
		r.clock.ns.Store(max(r.clock.ns.Load(), r.alarm.at+int64(r.late)))
		r.alarm.at = 0
		r.scheduler.round()
	}
	r.clock.ns.Store(int64(t))
}

// send puts frame number n of a size in now.
func (r *rig) send(n, size int) {
	f := r.pool.get(size)
	clear(f.bytes())
	binary.BigEndian.PutUint32(f.bytes()[headerLen:], uint32(n))
	binary.BigEndian.PutUint32(f.bytes()[size-4:], uint32(n))
	r.first.accept([]*frame{f})
}

// run sends frames at a regular distance and lets all arrive.
func (r *rig) run(frames, size int, every time.Duration) {
	for i := range frames {
		r.until(time.Duration(i) * every)
		r.send(i, size)
	}
	r.until(time.Duration(math.MaxInt64 / 2))
}

func milliseconds(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func TestDelayErrorIsSmall(t *testing.T) {
	g := NewWithT(t)
	const every = 100 * time.Microsecond // 10 000 frames per second
	for _, delay := range []time.Duration{milliseconds(0.03), milliseconds(0.5), milliseconds(2), milliseconds(50.05), 2 * time.Second} {
		r := newRig(impair.Impairment{Delay: delay})
		r.run(10000, 1514, every)
		g.Expect(r.got).To(HaveLen(10000))
		var late []time.Duration
		for i, a := range r.got {
			if a.number != uint32(i) {
				t.Fatalf("frame %d came as number %d", a.number, i)
			}
			late = append(late, a.at-time.Duration(i)*every-delay)
		}
		g.Expect(slices.Min(late)).To(BeNumerically(">=", 0))
		g.Expect(slices.Max(late)).To(BeNumerically("<=", roundGap))
	}
}

// What one lane delivers late is not late again on the next.
func TestLatenessDoesNotAddUp(t *testing.T) {
	g := NewWithT(t)
	r := newRig(impair.Impairment{Delay: 10 * time.Millisecond}, impair.Impairment{Delay: 20 * time.Millisecond})
	r.late = 3 * time.Millisecond
	const every = time.Millisecond / 3
	r.run(1000, 100, every)
	g.Expect(r.got).To(HaveLen(1000))
	for i, a := range r.got {
		g.Expect(a.at - time.Duration(i)*every - 30*time.Millisecond).To(And(
			BeNumerically(">=", 0), BeNumerically("<=", r.late+time.Millisecond)))
	}
}

func TestALaneDoesWhatTheModelSays(t *testing.T) {
	for name, i := range map[string]impair.Impairment{
		"loss":      {LossPercent: 10},
		"bursts":    {Bursts: impair.GilbertElliott{EnterPercent: 2, LeavePercent: 25, LossBadPercent: 100}},
		"delay":     {Delay: milliseconds(7)},
		"jitter":    {Delay: milliseconds(7), Jitter: milliseconds(3)},
		"normal":    {Delay: milliseconds(7), Jitter: milliseconds(3), Distribution: impair.Normal},
		"rate":      {RateBits: 5e6, QueueBytes: 15000},
		"reorder":   {Delay: milliseconds(7), ReorderPercent: 10},
		"duplicate": {DuplicatePercent: 10},
		"corrupt":   {CorruptPercent: 10},
		"all": {
			Delay: milliseconds(7), Jitter: milliseconds(1), LossPercent: 5, RateBits: 8e6, QueueTime: milliseconds(20),
			ReorderPercent: 5, DuplicatePercent: 5, CorruptPercent: 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			const frames, every, size = 3000, time.Millisecond, 1000
			r := newRig(i)
			r.run(frames, size, every)
			m := impair.New(impair.Key{Seed: 1, Network: "lan", Owner: "a", Direction: "egress"})
			m.Set(i)
			wantAt := make(map[uint32][]time.Duration)
			want := Counters{Dropped: make(map[Cause]uint64)}
			for n := range frames {
				v := m.Frame(time.Duration(n)*every, size)
				switch v.Fate {
				case impair.Lost:
					want.Dropped[Lost]++
					continue
				case impair.QueueFull:
					want.Dropped[QueueFull]++
					continue
				}
				wantAt[uint32(n)] = append(wantAt[uint32(n)], v.Due)
				if v.Duplicated {
					want.Duplicated++
					wantAt[uint32(n)] = append(wantAt[uint32(n)], v.CopyDue)
				}
				if v.Reordered {
					want.Reordered++
				}
				if v.Corrupted {
					want.Corrupted++
				}
			}
			g.Expect(r.link.Counters()).To(Equal(want))
			arrived := 0
			for _, a := range r.got {
				if !a.whole {
					continue
				}
				due := wantAt[a.number]
				g.Expect(due).NotTo(BeEmpty(), "frame %d", a.number)
				g.Expect(a.at-due[0]).To(And(BeNumerically(">=", 0), BeNumerically("<=", roundGap)), "frame %d", a.number)
				wantAt[a.number] = due[1:]
				arrived++
			}
			g.Expect(arrived).To(BeNumerically(">", frames/3))
			if i.CorruptPercent == 0 {
				for n, due := range wantAt {
					g.Expect(due).To(BeEmpty(), "frame %d", n)
				}
			}
		})
	}
}

func TestFramesUnderWayKeepTheirTime(t *testing.T) {
	g := NewWithT(t)
	r := newRig(impair.Impairment{Delay: 100 * time.Millisecond})
	r.send(0, 60)
	r.until(10 * time.Millisecond)
	r.first.set(impair.Impairment{Delay: 5 * time.Millisecond})
	r.send(1, 60)
	r.first.set(impair.Impairment{Delay: 500 * time.Millisecond})
	r.send(2, 60)
	r.first.set(impair.Impairment{})
	r.send(3, 60)
	r.until(time.Second)
	for i, want := range []arrivedFrame{
		{3, 10 * time.Millisecond, true}, {1, 15 * time.Millisecond, true}, {0, 100 * time.Millisecond, true}, {2, 510 * time.Millisecond, true},
	} {
		g.Expect(r.got[i].number).To(Equal(want.number))
		g.Expect(r.got[i].at).To(BeNumerically("~", want.at, roundGap))
	}
	g.Expect(r.got).To(HaveLen(4))
}

func TestWhatALaneHoldsIsBounded(t *testing.T) {
	g := NewWithT(t)
	r := newRig(impair.Impairment{Delay: time.Hour})
	most := laneMemory / frameClasses[0].size
	for i := range most + 100 {
		r.send(i, 60)
	}
	g.Expect(r.link.Counters().Dropped).To(Equal(map[Cause]uint64{Overflow: 100}))
	g.Expect(r.first.line.memory).To(Equal(laneMemory))
	r.until(2 * time.Hour)
	g.Expect(r.got).To(HaveLen(most))
	r.send(0, 60)
	r.scheduler.empty()
	g.Expect(r.first.line.memory).To(BeZero())
	g.Expect(r.first.line.head()).To(BeEquivalentTo(never))
}

// Corruption must not reach those who share the frame.
func TestCorruptionTakesACopy(t *testing.T) {
	g := NewWithT(t)
	r := newRig(impair.Impairment{CorruptPercent: 100})
	f := r.pool.get(60)
	clear(f.bytes())
	f.refs.Add(1)
	f.origin = 3
	var got *frame
	r.first.next = func(batch []*frame) { got = batch[0] }
	r.first.accept([]*frame{f})
	g.Expect(f.bytes()).To(HaveEach(BeZero()))
	g.Expect(got).NotTo(BeIdenticalTo(f))
	g.Expect(got.origin).To(BeEquivalentTo(3))
	bits := 0
	for _, b := range got.bytes() {
		for ; b != 0; b &= b - 1 {
			bits++
		}
	}
	g.Expect(bits).To(Equal(1))
	g.Expect(f.refs.Load()).To(BeEquivalentTo(1), "one reference was given up")
}

func TestALaneDoesNotAllocate(t *testing.T) {
	g := NewWithT(t)
	r := newRig(impair.Impairment{
		Delay: milliseconds(5), Jitter: milliseconds(1), LossPercent: 1, RateBits: 1e9, ReorderPercent: 1, DuplicatePercent: 1, CorruptPercent: 1,
	})
	arrived := 0
	r.first.next = func(batch []*frame) {
		arrived += len(batch)
		r.pool.release(batch)
	}
	var batch [16]*frame
	step := func() {
		for i := range batch {
			batch[i] = r.pool.get(1514)
		}
		r.first.accept(batch[:])
		r.until(time.Duration(r.clock.ns.Load()) + 300*time.Microsecond)
	}
	for range 1000 {
		step()
	}
	g.Expect(testing.AllocsPerRun(2000, step)).To(BeZero())
	g.Expect(arrived).To(BeNumerically(">", 45000))
}

func TestAnIdleSchedulerSleeps(t *testing.T) {
	g := NewWithT(t)
	r := newRig(impair.Impairment{Delay: time.Millisecond})
	r.send(0, 60)
	r.until(time.Second)
	g.Expect(r.got).To(HaveLen(1))
	g.Expect(r.alarm.at).To(BeZero(), "the alarm is not set")
	g.Expect(r.scheduler.armed.Load()).To(BeEquivalentTo(never))
}

func BenchmarkLane(b *testing.B) {
	for name, i := range map[string]impair.Impairment{
		"loss": {LossPercent: 1},
		"all":  {Delay: milliseconds(5), Jitter: milliseconds(1), LossPercent: 1, RateBits: 10e9},
	} {
		b.Run(name, func(b *testing.B) {
			r := newRig(i)
			r.first.next = r.pool.release
			var batch [64]*frame
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(batch) {
				for i := range batch {
					batch[i] = r.pool.get(1514)
				}
				r.first.accept(batch[:])
				r.until(time.Duration(r.clock.ns.Load()) + 100*time.Microsecond)
			}
		})
	}
}
