package lab

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"ionlab/internal/fabric"
	"ionlab/internal/fabric/impair"
	"ionlab/internal/topology"
)

// None in a field of Impairment takes that impairment away.
const None = -1

// Direction says which way of a link an Impairment means, seen from the node.
type Direction int

// The directions of a link.
const (
	Both Direction = iota
	Egress
	Ingress
)

// Distribution is how the delays of single frames spread around Delay; empty leaves it as it was.
type Distribution string

// The distributions of jitter.
const (
	Uniform Distribution = "uniform"
	Normal  Distribution = "normal"
)

// Impairment is a change of what links do to frames. A field that is zero stays as it was, one that is None is taken
// away; Preset comes first and the other fields on top of it.
type Impairment struct {
	Preset         string
	On             Direction
	Delay, Jitter  time.Duration
	Distribution   Distribution
	LossPercent    float64               // independent; ends Bursts unless those are given too
	Bursts         impair.GilbertElliott // None in EnterPercent ends them
	RateBits       float64               // bit/s
	QueueBytes     int                   // ends QueueTime unless that is given too, and the other way round
	QueueTime      time.Duration
	ReorderPercent float64

	DuplicatePercent, CorruptPercent float64
}

// errNothing is what a change that changes nothing most likely means: a zero where None was meant.
var errNothing = errors.New("nothing is asked for: a field that is zero stays as it was; None takes an impairment away, Reset all of them")

// over returns what is left of a link's conditions when the change comes on top.
func (i Impairment) over(c fabric.Conditions) (fabric.Conditions, error) {
	what := i
	what.On = Both
	if what == (Impairment{}) {
		return c, errNothing
	}
	var err error
	if i.On == Both || i.On == Egress {
		c.Egress, err = i.onto(c.Egress)
	}
	if err == nil && (i.On == Both || i.On == Ingress) {
		c.Ingress, err = i.onto(c.Ingress)
	}
	return c, err
}

// onto is over for one direction.
func (i Impairment) onto(was impair.Impairment) (impair.Impairment, error) {
	if i.Preset != "" {
		preset, err := findPreset(i.Preset)
		if err != nil {
			return was, err
		}
		was.Delay, was.Jitter = preset.Delay, preset.Jitter
		was.LossPercent, was.Bursts = preset.LossPercent, impair.GilbertElliott{}
		was.RateBits = preset.RateBits
	}
	was.Delay, was.Jitter = changed(was.Delay, i.Delay), changed(was.Jitter, i.Jitter)
	switch i.Distribution {
	case "":
	case Uniform:
		was.Distribution = impair.Uniform
	case Normal:
		was.Distribution = impair.Normal
	default:
		return was, fmt.Errorf("distribution %q is not known; there are %q and %q", i.Distribution, Uniform, Normal)
	}
	was.LossPercent, was.Bursts = changed(was.LossPercent, i.LossPercent), i.bursts(was.Bursts)
	was.RateBits = changed(was.RateBits, i.RateBits)
	was.QueueBytes, was.QueueTime = i.queue(was.QueueBytes, was.QueueTime)
	was.ReorderPercent = changed(was.ReorderPercent, i.ReorderPercent)
	was.DuplicatePercent = changed(was.DuplicatePercent, i.DuplicatePercent)
	was.CorruptPercent = changed(was.CorruptPercent, i.CorruptPercent)
	return was, was.Validate()
}

// bursts replace independent loss, so that a new independent loss has to end them to be seen at all.
func (i Impairment) bursts(was impair.GilbertElliott) impair.GilbertElliott {
	switch {
	case i.Bursts.EnterPercent == None:
		return impair.GilbertElliott{}
	case i.Bursts != impair.GilbertElliott{}:
		return i.Bursts
	case i.LossPercent != 0:
		return impair.GilbertElliott{}
	}
	return was
}

// queue has one limit, in bytes or in time: a new one ends the other.
func (i Impairment) queue(bytes int, time time.Duration) (int, time.Duration) {
	if i.QueueBytes != 0 && i.QueueTime == 0 {
		time = 0
	}
	if i.QueueTime != 0 && i.QueueBytes == 0 {
		bytes = 0
	}
	return changed(bytes, i.QueueBytes), changed(time, i.QueueTime)
}

func changed[T int | float64 | time.Duration](was, now T) T {
	switch now {
	case 0:
		return was
	case None:
		return 0
	}
	return now
}

// findPreset finds one of the topology's kinds of links.
func findPreset(name string) (impair.Impairment, error) {
	var known []string
	for _, p := range topology.Presets() {
		if p.Name == name {
			return impairmentOf(p.Impairment), nil
		}
		known = append(known, p.Name)
	}
	return impair.Impairment{}, fmt.Errorf("preset %q is not known; there are %s", name, strings.Join(known, ", "))
}
