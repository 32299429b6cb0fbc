package labtest

import (
	"context"
	"time"
)

// Timeline is a list of changes that follow one another, from the beginning again when Repeat is set. Flap and Degrade
// make the usual ones.
type Timeline struct {
	Steps  []Change
	Repeat bool
}

// Change is one step of a Timeline: what happens to the links that the timeline is scheduled on. Of the fields below
// After one at least is set; when several are, they happen in their order.
type Change struct {
	// After is the time since the change before was due, or since the timeline began.
	After time.Duration
	// Link takes the links down, up, or back to what the topology says.
	Link LinkChange
	// Impair is applied as Link.Impair does.
	Impair Impairment
	// Do does anything else, such as a partition. Give its ctx to what it calls: by it, what is changed there is undone
	// with the schedule.
	Do func(ctx context.Context) error
}

// LinkChange is something that can happen to a link in a Timeline.
type LinkChange string

// The changes of a link.
const (
	Down  LinkChange = "down"
	Up    LinkChange = "up"
	Reset LinkChange = "reset" // the topology's conditions, and up
)

// Flap takes links down for downFor at the end of every period, again and again.
func Flap(every, downFor time.Duration) Timeline {
	return Timeline{Repeat: true, Steps: []Change{{After: every - downFor, Link: Down}, {After: downFor, Link: Up}}}
}

// Degrade goes from one impairment to another in equal steps: the first, which is from, at once, and the last, which is
// to, after over. Fields that neither sets stay as they are; what one of them leaves out, or has as None, counts as
// nothing. A rate that not both have, a preset, a distribution and a queue are those of from until the last step.
func Degrade(from, to Impairment, over time.Duration, steps int) Timeline {
	var t Timeline
	last := max(steps-1, 1)
	for i := range last + 1 {
		step := Change{Impair: between(from, to, float64(i)/float64(last))}
		if i > 0 {
			// From the plan, not over/last each time: the last one is due exactly at over.
			step.After = over*time.Duration(i)/time.Duration(last) - over*time.Duration(i-1)/time.Duration(last)
		}
		t.Steps = append(t.Steps, step)
	}
	return t
}

// between is the impairment at a part of the way, 0 to 1.
func between(from, to Impairment, part float64) Impairment {
	out := from
	if part >= 1 {
		out = to
	}
	out.Delay, out.Jitter = mix(from.Delay, to.Delay, part), mix(from.Jitter, to.Jitter, part)
	out.Loss = mix(from.Loss, to.Loss, part)
	out.Bursts = mixBursts(from.Bursts, to.Bursts, part)
	if from.Rate > 0 && to.Rate > 0 {
		out.Rate = mix(from.Rate, to.Rate, part)
	}
	out.Reorder, out.Duplicate = mix(from.Reorder, to.Reorder, part), mix(from.Duplicate, to.Duplicate, part)
	out.Corrupt = mix(from.Corrupt, to.Corrupt, part)
	return out
}

// mix is a value at a part of the way: zero, for as it was, if neither end is set, and None where nothing is left.
func mix[T Percent | Rate | time.Duration](from, to T, part float64) T {
	if from == 0 && to == 0 {
		return 0
	}
	a, b := max(float64(from), 0), max(float64(to), 0)
	if value := T(a + (b-a)*part); value > 0 {
		return value
	}
	return None
}

func mixBursts(from, to GilbertElliott, part float64) GilbertElliott {
	if from == (GilbertElliott{}) && to == (GilbertElliott{}) {
		return from
	}
	some := func(a, b Percent) Percent { return max(mix(a, b, part), 0) }
	out := GilbertElliott{
		Enter: some(from.Enter, to.Enter), Leave: some(from.Leave, to.Leave),
		LossGood: some(from.LossGood, to.LossGood), LossBad: some(from.LossBad, to.LossBad),
	}
	if out.Enter == 0 {
		return GilbertElliott{Enter: None}
	}
	return out
}
