package labtest

import (
	"fmt"
	"strings"
	"time"

	"ionlab/internal/fabric/impair"
	"ionlab/internal/lab"
)

// None in a field of an Impairment takes that impairment away.
const None = lab.None

// Percent is a share of frames, 0 to 100.
type Percent float64

// Rate is in bits per second.
type Rate float64

// Units of Rate, in powers of ten as networks count: 100 * labtest.Mbps.
const (
	Kbps Rate = 1e3
	Mbps Rate = 1e6
	Gbps Rate = 1e9
)

// String is the rate in the largest unit that leaves a number of one or more.
func (r Rate) String() string {
	switch {
	case r >= Gbps:
		return fmt.Sprintf("%.4g Gbit/s", float64(r/Gbps))
	case r >= Mbps:
		return fmt.Sprintf("%.4g Mbit/s", float64(r/Mbps))
	case r >= Kbps:
		return fmt.Sprintf("%.4g kbit/s", float64(r/Kbps))
	}
	return fmt.Sprintf("%.4g bit/s", float64(r))
}

// Direction says which way of a link is meant, seen from its node.
type Direction int

// The directions of a link.
const (
	// Both ways, each in full: a delay of 10 ms makes a round trip 20 ms longer.
	Both Direction = iota
	// Egress is what the node sends.
	Egress
	// Ingress is what the node receives.
	Ingress
)

// Distribution is how the delays of single frames lie around Delay.
type Distribution string

// The distributions of jitter.
const (
	// Uniform makes each delay within the jitter alike likely. It is what holds when nothing is said.
	Uniform Distribution = "uniform"
	// Normal makes Jitter one standard deviation.
	Normal Distribution = "normal"
)

// GilbertElliott is loss in bursts: the link is good or bad, each with its own loss, and changes with these
// likelihoods at each frame. tc-netem(8) calls the four p, r, 1-k and 1-h.
type GilbertElliott struct {
	Enter, Leave      Percent // from good to bad, and back
	LossGood, LossBad Percent // in each state; most of the time 0 and 100
}

// Impairment is what a spec wants of one or more links. A field that is zero leaves what the link has; None takes that
// impairment away. So changes add up: a loss on top of the topology's delay is Impairment{Loss: 2}.
//
// Each value holds for each direction that On names, and for each link on the way: a packet between two nodes passes
// the sender's egress and the receiver's ingress.
type Impairment struct {
	// Preset is the name of a kind of link, such as "satellite"; docs/topology.md lists them. It sets delay, jitter, loss
	// and rate; the other fields come on top.
	Preset string
	// On is Both unless set.
	On Direction

	// Delay is added to each frame, Jitter is how far the delay of one frame may be away from it.
	Delay, Jitter time.Duration
	Distribution  Distribution
	// Loss is independent from frame to frame. It ends Bursts, which Loss: None does too.
	Loss Percent
	// Bursts replaces Loss while it is set. None in its Enter takes it away.
	Bursts GilbertElliott
	// Rate is what passes at most. What comes faster waits in a queue of QueueBytes or of QueueTime, and is dropped where
	// that is full; with neither set, the fabric's default holds (docs/networking.md).
	Rate       Rate
	QueueBytes int
	QueueTime  time.Duration
	// Reorder is the share of frames that overtake others, Duplicate of those that come twice, Corrupt of those in which
	// one bit is wrong.
	Reorder, Duplicate, Corrupt Percent
}

// change puts the impairment into the lab's words.
func (i Impairment) change() lab.Impairment {
	return lab.Impairment{
		Preset: i.Preset, On: lab.Direction(i.On), Delay: i.Delay, Jitter: i.Jitter, Distribution: lab.Distribution(i.Distribution),
		LossPercent: float64(i.Loss),
		Bursts: impair.GilbertElliott{
			EnterPercent: float64(i.Bursts.Enter), LeavePercent: float64(i.Bursts.Leave),
			LossGoodPercent: float64(i.Bursts.LossGood), LossBadPercent: float64(i.Bursts.LossBad),
		},
		RateBits: float64(i.Rate), QueueBytes: i.QueueBytes, QueueTime: i.QueueTime,
		ReorderPercent: float64(i.Reorder), DuplicatePercent: float64(i.Duplicate), CorruptPercent: float64(i.Corrupt),
	}
}

// String lists what the impairment changes.
func (i Impairment) String() string {
	var words []string
	add := func(set bool, format string, args ...any) {
		if set {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(i.Preset != "", "preset %s", i.Preset)
	add(i.Delay != 0, "delay %s", orNone(i.Delay))
	add(i.Jitter != 0, "jitter %s", orNone(i.Jitter))
	add(i.Distribution != "", "distribution %s", i.Distribution)
	add(i.Loss != 0, "loss %s", orNone(i.Loss))
	add(i.Bursts.Enter == None, "bursts none")
	add(i.Bursts.Enter != None && i.Bursts != GilbertElliott{}, "bursts enter %s, leave %s, good %s, bad %s",
		i.Bursts.Enter, i.Bursts.Leave, i.Bursts.LossGood, i.Bursts.LossBad)
	add(i.Rate != 0, "rate %s", orNone(i.Rate))
	add(i.QueueBytes != 0, "queue bytes %d", i.QueueBytes)
	add(i.QueueTime != 0, "queue %s", orNone(i.QueueTime))
	add(i.Reorder != 0, "reorder %s", orNone(i.Reorder))
	add(i.Duplicate != 0, "duplicate %s", orNone(i.Duplicate))
	add(i.Corrupt != 0, "corrupt %s", orNone(i.Corrupt))
	add(i.On != Both, "on %s only", i.On)
	return strings.Join(words, ", ")
}

func orNone[T interface {
	Percent | Rate | time.Duration
	fmt.Stringer
}](value T) string {
	if value == None {
		return "none"
	}
	return value.String()
}

// String is the share with its sign.
func (p Percent) String() string { return fmt.Sprintf("%.4g %%", float64(p)) }

// String is the direction in one word.
func (d Direction) String() string {
	switch d {
	case Both:
		return "both"
	case Egress:
		return "egress"
	case Ingress:
		return "ingress"
	}
	return fmt.Sprintf("direction %d", int(d))
}
