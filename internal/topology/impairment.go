package topology

import "time"

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
	// The percentages are 0 to 100 and say how many frames are meant.
	LossPercent, ReorderPercent, DuplicatePercent, CorruptPercent float64
	// RateKbps is in 1000 bits per second; 0 is unlimited.
	RateKbps float64
}

// IsZero tells whether frames pass as they are.
func (i Impairment) IsZero() bool { return i == Impairment{} }
