package fabric

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"ionlab/internal/fabric/impair"
)

// How far a measurement may be from what was asked, besides what chance allows with so few probes.
const (
	tolerance      = 0.05                 // of the delay and of the rate
	minTolerance   = 2 * time.Millisecond // of the delay: what a busy host adds to any
	jitterLeast    = 0.2                  // of the jitter
	rateTolerance  = time.Millisecond / 5 // of the time of a train: frames arrive in rounds
	standardErrors = 3
	lossTail       = 0.0005 // on each side of the 99.9 % interval
	negligible     = 1e-12
	leastTimely    = 20 // delays, where more are too late to count
)

// ErrMeasured means that a link does something else than what was asked of it.
var ErrMeasured = errors.New("a link does not do what was asked of it")

// Measurement is what one direction of a link was found to do to probe frames.
type Measurement struct {
	Owner, Network string
	Direction      Direction
	// Asked is what was in the link's conditions.
	Asked impair.Impairment
	// Delay is the median over the probes that arrived, without the time that the rate takes to send one.
	Delay time.Duration
	// JitterSpread is the jitter that the middle two thirds of the delays bespeak, in the terms of Asked.Distribution: half of
	// the width for a uniform one, the standard deviation for a normal one.
	JitterSpread time.Duration
	// DelaySamples is how many delays these come from; 0 where nothing arrives. Late is how many more there were, which do
	// not count: the host was too busy to take note of their arrival in time.
	DelaySamples, Late int
	// LossPercent is the part of Probes that did not arrive.
	LossPercent float64
	Probes      int
	// RateBits is the rate in bit/s at which Trains of frames arrived. Both are 0 where no rate was asked, or
	// where its queue has no room for a train.
	RateBits float64
	Trains   int
	// Took is how long the measurement was under way.
	Took time.Duration
}

// Check returns nil where the measurement is what was asked: the delay within 5 % or 2 ms, whichever is more, the jitter
// within 20 % or 2 ms, each plus three standard errors of a sample this small; the rate within 5 % and the 0.2 ms that the
// end of a train may be off; the loss within the interval that holds 99.9 % of such samples. The error is ErrMeasured; it names the link, what was asked, all that
// differs, and what may be the cause. Jitter that exceeds the delay is cut off at none, and not judged.
func (m Measurement) Check() error {
	var v verdicts
	m.checkDelay(&v)
	m.checkLoss(&v)
	m.checkRate(&v)
	if len(v.wrong) == 0 {
		return nil
	}
	hint := "an overloaded host does not do that: look for a change of the conditions meanwhile, or report it as a bug of ionlab"
	if v.slow {
		hint = "an overloaded host delays frames: look at its load, run fewer labs at once, or start again"
	}
	return fmt.Errorf("%w: %s of %s on network %s, asked: %s; %s (%s)", ErrMeasured, m.Direction, m.Owner, m.Network, m.Asked,
		strings.Join(v.wrong, "; "), hint)
}

// String is the measurement in a line.
func (m Measurement) String() string {
	text := fmt.Sprintf("%s@%s %s: delay %s, jitter %s, loss %.3g %% of %d", m.Owner, m.Network, m.Direction,
		round(m.Delay), round(m.JitterSpread), m.LossPercent, m.Probes)
	if m.DelaySamples == 0 {
		text = fmt.Sprintf("%s@%s %s: loss %.3g %% of %d", m.Owner, m.Network, m.Direction, m.LossPercent, m.Probes)
	}
	if m.Trains > 0 {
		text += fmt.Sprintf(", rate %.4g Mbit/s", m.RateBits/1e6)
	}
	return text + fmt.Sprintf(" (asked: %s)", m.Asked)
}

// verdicts collects what differs.
type verdicts struct {
	wrong []string
	slow  bool // one of them is what an overloaded host would do
}

func (v *verdicts) add(slow bool, format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
	v.slow = v.slow || slow
}

func (m Measurement) checkDelay(v *verdicts) {
	if m.DelaySamples < leastTimely && m.DelaySamples < m.Late {
		v.add(true, "the delay is unknown: of %d probes that arrived, the host noted %d in time", m.DelaySamples+m.Late, m.DelaySamples)
		return
	}
	if m.DelaySamples == 0 {
		return // The loss is to blame, and judged.
	}
	asked := m.Asked.Delay
	sampling := 1.25 * float64(m.JitterSpread) / math.Sqrt(float64(m.DelaySamples)) // of a normal sample's median
	room := max(time.Duration(tolerance*float64(asked)), minTolerance) + time.Duration(standardErrors*sampling)
	if off := m.Delay - asked; off.Abs() > room {
		v.add(off > 0, "the delay is %s, want %s±%s", round(m.Delay), round(asked), round(room))
	}
	jitter := m.Asked.Jitter
	if jitter == 0 || jitter > asked {
		return
	}
	// The standard error of half the distance between a normal sample's 16 % and 84 % quantiles is 1.15 σ/√n.
	sampling = 1.15 * float64(jitter) / math.Sqrt(float64(m.DelaySamples))
	room = max(time.Duration(jitterLeast*float64(jitter)), minTolerance) + time.Duration(standardErrors*sampling)
	if off := m.JitterSpread - jitter; off.Abs() > room {
		v.add(off > 0, "the jitter is %s, want %s±%s", round(m.JitterSpread), round(jitter), round(room))
	}
}

func (m Measurement) checkLoss(v *verdicts) {
	lost := int(math.Round(m.LossPercent / 100 * float64(m.Probes)))
	least, most := lossBounds(m.Probes, m.Asked)
	if lost < least || lost > most {
		part := func(n int) float64 { return 100 * float64(n) / float64(max(1, m.Probes)) }
		v.add(false, "%d of %d probes (%.3g %%) were lost, want %d to %d (%.3g to %.3g %%)",
			lost, m.Probes, m.LossPercent, least, most, part(least), part(most))
	}
}

func (m Measurement) checkRate(v *verdicts) {
	frames, size := trainOf(m.Asked)
	if m.Asked.RateBits == 0 || frames < trainLeast {
		return
	}
	if m.Trains == 0 {
		v.add(true, "the rate is unknown: of the frames that were to tell it, too few arrived, or were noted in time")
		return
	}
	off := m.RateBits/m.Asked.RateBits - 1
	room := tolerance + rateTolerance.Seconds()/sendingTime(m.Asked, frames*size).Seconds()
	if math.Abs(off) > room {
		v.add(off < 0, "the rate is %.4g Mbit/s, want %.4g Mbit/s ±%.2g %%", m.RateBits/1e6, m.Asked.RateBits/1e6, 100*room)
	}
}

// lossBounds are the least and the most of n probes that an impairment loses, but for one case in a thousand. They are
// exact, also for losses in bursts, whose numbers scatter much more than independent ones.
func lossBounds(n int, i impair.Impairment) (least, most int) {
	b := i.Bursts
	if b.IsZero() {
		b = impair.GilbertElliott{LossGoodPercent: i.LossPercent}
	}
	odds, sum := lossOdds(n, b), 0.0
	least, most = -1, n
	for lost, p := range odds {
		sum += p
		if least < 0 && sum > lossTail {
			least = lost
		}
		if sum >= 1-lossTail {
			most = lost
			break
		}
	}
	return max(0, least), most
}

// lossOdds is, by number, how probable it is that so many of n frames are lost, the first being met in the good state.
func lossOdds(n int, b impair.GilbertElliott) []float64 {
	enter, leave := b.EnterPercent/100, b.LeavePercent/100
	lossGood, lossBad := b.LossGoodPercent/100, b.LossBadPercent/100
	good, bad := make([]float64, n+1), make([]float64, n+1)
	good[0] = 1
	from, to := 0, 0 // What is beyond is too improbable to matter.
	for range n {
		to = min(to+1, n)
		for lost := to; lost >= from; lost-- { // Downwards, so that what is read is of the frame before.
			g, h := good[lost]*(1-lossGood), bad[lost]*(1-lossBad)
			if lost > 0 {
				g += good[lost-1] * lossGood
				h += bad[lost-1] * lossBad
			}
			good[lost], bad[lost] = g*(1-enter)+h*leave, g*enter+h*(1-leave)
		}
		for ; good[to]+bad[to] < negligible; to-- {
			good[to], bad[to] = 0, 0
		}
		for ; good[from]+bad[from] < negligible; from++ {
			good[from], bad[from] = 0, 0
		}
	}
	for lost := range good {
		good[lost] += bad[lost]
	}
	return good
}

// round is a duration with as much as is worth reading.
func round(d time.Duration) time.Duration {
	switch {
	case d.Abs() >= 100*time.Millisecond:
		return d.Round(time.Millisecond)
	case d.Abs() >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	default:
		return d.Round(time.Microsecond)
	}
}
