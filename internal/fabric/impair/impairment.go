package impair

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Impairment is what one direction of a link does to the frames that pass. Its zero value does nothing. Percentages go from
// 0 to 100.
type Impairment struct {
	// Delay is how long each frame is under way, besides the time that Rate takes to send it.
	Delay time.Duration
	// Jitter varies the delay from frame to frame, never below zero and without changing the order of frames: one that
	// would overtake another arrives right behind it.
	Jitter       time.Duration
	Distribution Distribution
	// LossPercent of the frames are lost, each independently of the others.
	LossPercent float64
	// Bursts, where it is not zero, takes the place of LossPercent.
	Bursts GilbertElliott
	// RateBits is the link's capacity in bit/s of Ethernet frames, header included, checksum and preamble not; 0 is no
	// limit.
	RateBits float64
	// QueueBytes is how much may wait for Rate, the frame being sent included; what comes then is dropped (tail drop). An
	// idle link takes a frame of any size. 0 means that QueueTime tells.
	QueueBytes int
	// QueueTime is the queue as the time that Rate needs to empty it; 0, where QueueBytes is 0 too, means
	// DefaultQueueTime, but room for at least DefaultQueueBytes.
	QueueTime time.Duration
	// ReorderPercent of the frames are sent ahead, without Delay and Jitter, so that they overtake what is under way.
	ReorderPercent float64
	// DuplicatePercent of the frames arrive twice, the copy right behind the frame. Rate counts it like any other.
	DuplicatePercent float64
	// CorruptPercent of the frames have one bit inverted, somewhere behind the Ethernet header.
	CorruptPercent float64
}

// The queue of a link with a rate and nothing said about its queue: a fifth of a second, as home routers have it, but ten
// full frames also on the slowest line.
const (
	DefaultQueueTime  = 200 * time.Millisecond
	DefaultQueueBytes = 10 * 1514
)

// MaxDelay bounds Delay, Jitter and QueueTime: the light time to Mars is less.
const MaxDelay = time.Hour

// GilbertElliott is loss in bursts: a link is in a good or a bad state, each with its own loss, and may change its state
// after each frame (Gilbert 1960, Elliott 1963). It begins in the good one. In the long run the part
// Enter/(Enter+Leave) of the frames meets the bad state, for 100/Leave frames in a row on average.
type GilbertElliott struct {
	EnterPercent    float64 // chance after each frame in the good state that the bad one follows
	LeavePercent    float64 // chance after each frame in the bad state that the good one follows
	LossGoodPercent float64
	LossBadPercent  float64
}

// IsZero reports whether the model is not used.
func (g GilbertElliott) IsZero() bool { return g == GilbertElliott{} }

// LossPercent is the loss in the long run.
func (g GilbertElliott) LossPercent() float64 {
	if g.EnterPercent+g.LeavePercent == 0 {
		return g.LossGoodPercent
	}
	return (g.LeavePercent*g.LossGoodPercent + g.EnterPercent*g.LossBadPercent) / (g.EnterPercent + g.LeavePercent)
}

// Distribution is how jitter is spread around the delay.
type Distribution int

// The distributions of jitter.
const (
	// Uniform is anything from Delay-Jitter to Delay+Jitter, each alike.
	Uniform Distribution = iota
	// Normal has Jitter as its standard deviation. What is beyond four of them is cut off.
	Normal
)

// String is the distribution as the topology writes it.
func (d Distribution) String() string {
	switch d {
	case Uniform:
		return "uniform"
	case Normal:
		return "normal"
	default:
		return "unknown"
	}
}

// IsZero reports whether the impairment does nothing. Sizes of a queue without a rate, and the like, do nothing either.
func (i Impairment) IsZero() bool {
	return i.Delay == 0 && i.Jitter == 0 && i.LossPercent == 0 && i.Bursts.IsZero() && i.RateBits == 0 &&
		i.ReorderPercent == 0 && i.DuplicatePercent == 0 && i.CorruptPercent == 0
}

// Validate reports everything that is wrong with the impairment.
func (i Impairment) Validate() error {
	var c checks
	c.duration("delay", i.Delay)
	c.duration("jitter", i.Jitter)
	c.duration("queue time", i.QueueTime)
	c.percent("loss", i.LossPercent)
	c.percent("reorder", i.ReorderPercent)
	c.percent("duplicate", i.DuplicatePercent)
	c.percent("corrupt", i.CorruptPercent)
	if d := i.Distribution; d != Uniform && d != Normal {
		c.fail("jitter distribution %d is unknown, want uniform or normal", d)
	}
	if i.RateBits != 0 && !(i.RateBits >= 1 && i.RateBits <= math.MaxInt64) {
		c.fail("rate %v bit/s, want at least 1, or 0 for no limit", i.RateBits)
	}
	if i.QueueBytes < 0 {
		c.fail("queue of %d bytes, want 0 or more", i.QueueBytes)
	}
	if i.ReorderPercent > 0 && i.Delay == 0 && i.Jitter == 0 {
		c.fail("reorder %s without a delay: a frame sent ahead overtakes only those that wait; set a delay too", percent(i.ReorderPercent))
	}
	i.Bursts.check(&c)
	return errors.Join(c.errs...)
}

func (g GilbertElliott) check(c *checks) {
	if g.IsZero() {
		return
	}
	c.percent("bursts: enter", g.EnterPercent)
	c.percent("bursts: leave", g.LeavePercent)
	c.percent("bursts: good", g.LossGoodPercent)
	c.percent("bursts: bad", g.LossBadPercent)
	if g.EnterPercent == 0 || g.LeavePercent == 0 {
		c.fail("bursts: enter %s and leave %s, want both above 0: else one of the states is for ever",
			percent(g.EnterPercent), percent(g.LeavePercent))
	}
	if g.LossGoodPercent == 0 && g.LossBadPercent == 0 {
		c.fail("bursts: no loss in either state; bad is usually 100 %%")
	}
}

type checks struct{ errs []error }

func (c *checks) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func (c *checks) duration(what string, d time.Duration) {
	if d < 0 || d > MaxDelay {
		c.fail("%s %v, want 0 to %v", what, d, MaxDelay)
	}
}

func (c *checks) percent(what string, p float64) {
	if !(p >= 0 && p <= 100) { // So that NaN is refused.
		c.fail("%s %s, want 0 to 100 %%", what, percent(p))
	}
}

// String is the impairment in short, such as "delay 50ms±10ms, loss 0.5 %, rate 100 Mbit/s", or "none".
func (i Impairment) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if i.Delay != 0 || i.Jitter != 0 {
		add("%s", i.delay())
	}
	switch g := i.Bursts; {
	case !g.IsZero():
		add("loss in bursts %s good, %s bad, enter %s, leave %s",
			percent(g.LossGoodPercent), percent(g.LossBadPercent), percent(g.EnterPercent), percent(g.LeavePercent))
	case i.LossPercent != 0:
		add("loss %s", percent(i.LossPercent))
	}
	if i.RateBits != 0 {
		add("rate %s", rate(i.RateBits))
		switch {
		case i.QueueBytes != 0:
			add("queue %d bytes", i.QueueBytes)
		case i.QueueTime != 0:
			add("queue %v", i.QueueTime)
		}
	}
	for _, p := range []struct {
		what string
		of   float64
	}{{"reorder", i.ReorderPercent}, {"duplicate", i.DuplicatePercent}, {"corrupt", i.CorruptPercent}} {
		if p.of != 0 {
			add("%s %s", p.what, percent(p.of))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (i Impairment) delay() string {
	s := fmt.Sprintf("delay %v", i.Delay)
	if i.Jitter != 0 {
		s += fmt.Sprintf("±%v", i.Jitter)
		if i.Distribution != Uniform {
			s += " " + i.Distribution.String()
		}
	}
	return s
}

func percent(p float64) string { return number(p) + " %" }

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// rate writes bit/s with the largest unit that leaves a number of at least one.
func rate(bits float64) string {
	for _, unit := range []struct {
		name string
		of   float64
	}{{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}} {
		if bits >= unit.of {
			return number(bits/unit.of) + " " + unit.name
		}
	}
	return number(bits) + " bit/s"
}
