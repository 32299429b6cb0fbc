package fabric

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ionlab/internal/fabric/impair"
)

// What is sent, and how fast. Probes take a quarter of a rate at most.
const (
	delaySeries  = 2 * time.Second // how long delay probes are sent
	delaySamples = 400
	delayFlights = 16 // at most at once
	probeGap     = 5 * time.Millisecond

	lossSeries = 2 * time.Second
	lossProbes = 2000
	lossBatch  = 10
	leastLoss  = 20 // probes, however slow the link

	trainTime   = 100 * time.Millisecond
	trainFrames = 512 // about
	usualFrame  = 1514
	jumboFrame  = 9014 // for rates at which usual frames would be too many
	trainLeast  = 4    // frames: fewer tell nothing
	trainSeries = time.Second
	notArrived  = time.Duration(-1)
)

// takeoff begins a flight: see Link.fly.
type takeoff func(purpose string, change func(*impair.Impairment)) *flight

func unchanged(*impair.Impairment) {}

// measureDelay sends probes so far apart that they do not meet: where one waits for another, be it for the rate or because
// jitter keeps the order, their delays are not those that were asked. So there are several flights side by side where
// the gaps are wide.
func (m *Measurement) measureDelay(ctx context.Context, fly takeoff) {
	reach := 2 * m.Asked.Jitter
	if m.Asked.Distribution == impair.Normal {
		reach = 5 * m.Asked.Jitter // All but one in a hundred.
	}
	gap := max(probeGap, reach+2*sendingTime(m.Asked, probeLen))
	rounds := min(delaySamples, max(4, int(delaySeries/gap)))
	flights := make([]*flight, min(delayFlights, (delaySamples+rounds-1)/rounds))
	for i := range flights {
		flights[i] = fly(fmt.Sprintf("delay probes %d", i), unchanged)
	}
	for range rounds {
		for _, f := range flights {
			f.send(1, probeLen)
		}
		if !pause(ctx, gap) {
			break
		}
	}
	var delays []time.Duration
	for _, f := range flights {
		f.wait(ctx, longest(m.Asked, probeLen))
		for _, p := range f.landed() {
			if !p.came.IsZero() {
				delays = append(delays, p.came.Sub(p.sent)-sendingTime(m.Asked, probeLen))
			}
		}
	}
	m.judgeDelays(delays)
}

// judgeDelays takes from the delays what they tell.
func (m *Measurement) judgeDelays(delays []time.Duration) {
	m.DelaySamples = len(delays)
	if len(delays) == 0 {
		return
	}
	slices.Sort(delays)
	// Frames that are sent ahead have no delay: they are the first ones.
	ahead := m.Asked.ReorderPercent / 100
	at := func(part float64) time.Duration {
		return delays[min(len(delays)-1, int((ahead+(1-ahead)*part)*float64(len(delays))))]
	}
	m.Delay = at(0.5)
	m.JitterSpread = (at(0.84134) - at(0.15866)) / 2 // One standard deviation of a normal distribution.
	if m.Asked.Distribution == impair.Uniform {
		m.JitterSpread = time.Duration(float64(m.JitterSpread) / 0.68269) // The width between these is that part of the whole.
	}
}

// measureLoss counts the probes that do not arrive.
func (m *Measurement) measureLoss(ctx context.Context, fly takeoff) {
	batch, gap := lossBatch, probeGap
	if bits := m.Asked.RateBits; bits > 0 {
		fits := bits / 8 * probeGap.Seconds() / 4 / probeLen
		batch = max(1, min(batch, int(fits), queueRoom(m.Asked)/2/probeLen))
		gap = max(gap, 4*sendingTime(m.Asked, batch*probeLen))
	}
	total := min(lossProbes, max(leastLoss, batch*int(lossSeries/gap)))
	f := fly("loss probes", unchanged)
	for m.Probes < total {
		n := min(batch, total-m.Probes)
		f.send(n, probeLen)
		m.Probes += n
		if !pause(ctx, gap) {
			break
		}
	}
	f.wait(ctx, longest(m.Asked, batch*probeLen))
	lost := 0
	for _, p := range f.landed() {
		if p.came.IsZero() {
			lost++
		}
	}
	m.LossPercent = 100 * float64(lost) / float64(m.Probes)
}

// measureRate sends trains of frames that the queue has room for and looks at how far apart they arrive. Each passes a copy
// of the stage, whose queue is empty, and which has no jitter, loss, reordering and duplication: these would hide a rate
// behind their own effects in so short a time. A queue without room for a train is not measured.
func (m *Measurement) measureRate(ctx context.Context, fly takeoff) {
	if m.Asked.RateBits == 0 {
		return
	}
	frames, size := trainOf(m.Asked)
	if frames < trainLeast {
		return
	}
	takes := sendingTime(m.Asked, frames*size)
	trains := make([]*flight, max(3, min(9, int(trainSeries/(takes+probeGap)))))
	for i := range trains {
		trains[i] = fly(fmt.Sprintf("train %d", i), func(i *impair.Impairment) {
			*i = impair.Impairment{Delay: i.Delay, RateBits: i.RateBits, QueueBytes: i.QueueBytes, QueueTime: i.QueueTime}
		})
		trains[i].send(frames, size)
		pause(ctx, takes+probeGap)
	}
	landed := make([][]probe, len(trains))
	for i, f := range trains {
		f.wait(ctx, m.Asked.Delay+takes)
		landed[i] = f.landed()
	}
	if apart, ok := spacing(typicalTrain(landed), sendingTime(m.Asked, size)); ok {
		m.Trains = len(trains)
		m.RateBits = float64(8*size) / apart.Seconds()
	}
}

// typicalTrain is how long after its train was sent each frame arrives: the lower quartile over the trains in which it does,
// or notArrived. A busy host makes frames late, never early, and the first ones of a train in particular.
func typicalTrain(trains [][]probe) []time.Duration {
	typical := make([]time.Duration, len(trains[0]))
	for i := range typical {
		var took []time.Duration
		for _, train := range trains {
			if p := train[i]; !p.came.IsZero() {
				took = append(took, p.came.Sub(p.sent))
			}
		}
		typical[i] = notArrived
		if len(took) > 0 {
			slices.Sort(took)
			typical[i] = took[(len(took)-1)/4]
		}
	}
	return typical
}

// trainOf is how many frames of what size make a train.
func trainOf(i impair.Impairment) (frames, size int) {
	bytes := max(i.RateBits/8*trainTime.Seconds(), 32*probeLen) // Not too few frames,
	bytes = min(bytes, i.RateBits/8, 0.9*float64(queueRoom(i))) // but within a second and the queue.
	size = max(probeLen, int(bytes/trainFrames))
	switch {
	case size <= usualFrame:
	case bytes <= 2*trainFrames*usualFrame:
		size = usualFrame
	default:
		size = min(size, jumboFrame)
		bytes = min(bytes, trainFrames*jumboFrame)
	}
	return int(bytes) / size, size
}

// spacing is how far apart the probes of a train arrived on average. A busy host makes some of them late, never early: so
// it compares, in the first quarter and in the last, the one that is the least late.
func spacing(train []time.Duration, expected time.Duration) (time.Duration, bool) {
	var arrived []int
	for i, took := range train {
		if took != notArrived {
			arrived = append(arrived, i)
		}
	}
	if len(arrived) < trainLeast {
		return 0, false
	}
	leastLate := func(numbers []int) int {
		return slices.MinFunc(numbers, func(a, b int) int {
			return int(train[a] - train[b] - time.Duration(a-b)*expected)
		})
	}
	quarter := len(arrived) / 4
	first, last := leastLate(arrived[:quarter]), leastLate(arrived[len(arrived)-quarter:])
	apart := (train[last] - train[first]) / time.Duration(last-first)
	return max(apart, 1), true
}

// sendingTime is how long the rate takes to send so many bytes.
func sendingTime(i impair.Impairment, bytes int) time.Duration {
	if i.RateBits == 0 {
		return 0
	}
	return time.Duration(float64(8*bytes) / i.RateBits * float64(time.Second))
}

// queueRoom is how many bytes may wait for the rate.
func queueRoom(i impair.Impairment) int {
	perSecond := i.RateBits / 8
	switch {
	case i.QueueBytes > 0:
		return i.QueueBytes
	case i.QueueTime > 0:
		return int(perSecond * i.QueueTime.Seconds())
	default:
		return int(max(perSecond*impair.DefaultQueueTime.Seconds(), impair.DefaultQueueBytes))
	}
}

// longest is how long a probe behind others of so many bytes may be under way.
func longest(i impair.Impairment, bytes int) time.Duration {
	reach := i.Jitter
	if i.Distribution == impair.Normal {
		reach *= 4
	}
	return i.Delay + reach + 2*sendingTime(i, bytes)
}
