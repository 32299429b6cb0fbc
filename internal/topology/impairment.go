package topology

import (
	"strconv"
	"time"
)

// Conditions are the impairments of one link, apart for its two directions.
//
// A value that the file gives without a direction holds for each of them in full: latency_ms: 10 delays what the node
// sends by 10 ms and what it receives by another 10 ms. Between two nodes whose links both have it, a packet takes
// 20 ms and an echo comes back after 40 ms.
type Conditions struct {
	// Egress is for what the node sends, Ingress for what it receives.
	Egress, Ingress Impairment
}

// IsZero tells whether the link is perfect in both directions.
func (c Conditions) IsZero() bool { return c.Egress.IsZero() && c.Ingress.IsZero() }

// Impairment is what happens to frames in one direction of a link.
type Impairment struct {
	// Delay is added to each frame, and Jitter is how far the delay of one frame may be away from it.
	Delay, Jitter time.Duration
	// Distribution says how the delays of single frames lie around Delay.
	Distribution Distribution
	// The percentages are 0 to 100 and say how many frames are meant.
	LossPercent, ReorderPercent, DuplicatePercent, CorruptPercent float64
	// Bursts replaces LossPercent where it is not zero; at most one of the two is set.
	Bursts GilbertElliott
	// RateKbps is in 1000 bits per second; 0 is unlimited.
	RateKbps float64
	// QueueBytes or QueueTime bounds what waits for its turn at RateKbps; later frames are dropped. At most one of the two
	// is set; with neither the fabric's own bound holds.
	QueueBytes int
	QueueTime  time.Duration
}

// IsZero tells whether frames pass as they are. A distribution without jitter and a queue without a rate do nothing.
func (i Impairment) IsZero() bool {
	i.Distribution, i.QueueBytes, i.QueueTime = Uniform, 0, 0
	return i == Impairment{}
}

// GilbertElliott is loss in bursts: a link that is either good or bad, each with its own loss. The percentages are 0 to
// 100; those of entering and leaving hold for each frame. The model is that of E. N. Gilbert (1960) and E. O. Elliott
// (1963), with the parameters that tc-netem(8) calls p, r, 1-k and 1-h.
type GilbertElliott struct {
	// EnterPercent is how likely a good link turns bad at a frame, LeavePercent how likely a bad one turns good.
	EnterPercent, LeavePercent float64
	// LossGoodPercent and LossBadPercent are the losses in each state.
	LossGoodPercent, LossBadPercent float64
}

// Distribution is a shape of jitter.
type Distribution int

// The distributions of jitter.
const (
	// Uniform makes each delay within the jitter alike likely.
	Uniform Distribution = iota
	// Normal makes the jitter one standard deviation.
	Normal
)

// String returns the word of the topology file.
func (d Distribution) String() string {
	if words := distributions(); d >= 0 && int(d) < len(words) {
		return words[d]
	}
	return "distribution " + strconv.Itoa(int(d))
}

// distributions returns the words of the file by Distribution.
func distributions() []string { return []string{"uniform", "normal"} }
