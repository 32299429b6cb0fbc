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
	delayFlights = 32 // at most at once
	probeGap     = 5 * time.Millisecond
	mostSeries   = 2 // while too few probes arrive in time to count

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
	leastTrains = 3
	mostTrains  = 9
)

// takeoff begins a flight: see Link.fly.
type takeoff func(purpose string, change func(*impair.Impairment)) *flight

func unchanged(*impair.Impairment) {}

// measureDelay sends probes and looks when they arrive.
func (m *Measurement) measureDelay(ctx context.Context, fly takeoff, beats *pulse) {
	within := max(timelyWithin, m.Asked.Delay/40, m.Asked.Jitter/20)
	var delays []time.Duration
	for series := range mostSeries {
		for _, p := range m.sendApart(ctx, fly, series) {
			switch {
			case p.came.IsZero():
			case !p.vague && beats.timely(p.came, within):
				delays = append(delays, p.came.Sub(p.sent)-sendingTime(m.Asked, probeLen))
			default:
				m.Late++
			}
		}
		if len(delays) >= leastTimely || len(delays) >= m.Late || ctx.Err() != nil {
			break
		}
	}
	m.judgeDelays(delays)
}

// sendApart sends a series of probes, so far apart that they do not meet: where one waits for another, be it for the rate or
// because jitter keeps the order, their delays are not those that were asked. So there are several flights side by side
// where the gaps are wide.
func (m *Measurement) sendApart(ctx context.Context, fly takeoff, series int) []probe {
	reach := 2 * m.Asked.Jitter
	if m.Asked.Distribution == impair.Normal {
		reach = 5 * m.Asked.Jitter // All but one in a hundred.
	}
	gap := max(probeGap, reach+2*sendingTime(m.Asked, probeLen))
	rounds := min(delaySamples, max(4, int(delaySeries/gap)))
	flights := make([]*flight, min(delayFlights, (delaySamples+rounds-1)/rounds))
	for i := range flights {
		flights[i] = fly(fmt.Sprintf("delay probes %d %d", series, i), unchanged)
	}
	for range rounds {
		for _, f := range flights {
			f.send(1, probeLen)
		}
		if !pause(ctx, gap) {
			break
		}
	}
	var all []probe
	for _, f := range flights {
		f.wait(ctx, longest(m.Asked, probeLen))
		all = append(all, f.landed()...)
	}
	return all
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
func (m *Measurement) measureRate(ctx context.Context, fly takeoff, beats *pulse) {
	if m.Asked.RateBits == 0 {
		return
	}
	frames, size := trainOf(m.Asked)
	if frames < trainLeast {
		return
	}
	within := max(timelyWithin, sendingTime(m.Asked, frames*size)/50)
	timely := func(at time.Time) bool { return beats.timely(at, within) }
	var rates []float64
	for series := range mostSeries {
		for _, train := range m.sendTrains(ctx, fly, series, frames, size) {
			if apart, ok := spacing(train, sendingTime(m.Asked, size), timely); ok {
				rates = append(rates, float64(8*size)/apart.Seconds())
			}
		}
		if len(rates) >= leastTrains || ctx.Err() != nil {
			break
		}
	}
	if m.Trains = len(rates); m.Trains > 0 {
		slices.Sort(rates)
		m.RateBits = rates[len(rates)/2]
	}
}

func (m *Measurement) sendTrains(ctx context.Context, fly takeoff, series, frames, size int) [][]probe {
	takes := sendingTime(m.Asked, frames*size)
	gap := max(takes+probeGap, trainSeries/mostTrains) // Short ones are not to fall into one bad moment all together.
	trains := make([]*flight, max(leastTrains, int(trainSeries/gap)))
	for i := range trains {
		trains[i] = fly(fmt.Sprintf("train %d %d", series, i), func(i *impair.Impairment) {
			*i = impair.Impairment{Delay: i.Delay, RateBits: i.RateBits, QueueBytes: i.QueueBytes, QueueTime: i.QueueTime}
		})
		trains[i].send(frames, size)
		pause(ctx, gap)
	}
	landed := make([][]probe, len(trains))
	for i, f := range trains {
		f.wait(ctx, m.Asked.Delay+takes)
		landed[i] = f.landed()
	}
	return landed
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

// spacing is how far apart the probes of a train arrived on average. A busy host makes some of them late, never early: so it
// compares, of those in the first quarter and in the last that are timely, the one that is the least late.
func spacing(train []probe, expected time.Duration, timely func(time.Time) bool) (time.Duration, bool) {
	leastLate := func(from, to int) int {
		least := -1
		for i := from; i < to; i++ {
			if p := train[i]; p.came.IsZero() || !timely(p.came) {
				continue
			}
			if least < 0 || train[i].came.Sub(train[least].came) < time.Duration(i-least)*expected {
				least = i
			}
		}
		return least
	}
	quarter := max(1, len(train)/4)
	first, last := leastLate(0, quarter), leastLate(len(train)-quarter, len(train))
	if first < 0 || last < 0 {
		return 0, false
	}
	return max(1, train[last].came.Sub(train[first].came)/time.Duration(last-first)), true
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
