package fabric

import "sync/atomic"

// Cause tells why a frame was dropped.
type Cause int

// The causes of dropped frames.
const (
	// Malformed frames are shorter than an Ethernet header or come from a group address.
	Malformed Cause = iota
	// Spoofed frames claim to come from the gateway or the control endpoint.
	Spoofed
	// Disconnected frames were for a guest that has not opened its link.
	Disconnected
	// Overflow frames found the queue of a slow receiver full, or too much under way on the link.
	Overflow
	// Lost frames were lost as the link's conditions have it.
	Lost
	// QueueFull frames found the queue of a link's rate full.
	QueueFull
	// LinkDown frames met a link that is down.
	LinkDown
	// Partitioned frames were between nodes that a partition separates; the receiver's link counts them.
	Partitioned
	causes
)

// String is the cause in a word or two.
func (c Cause) String() string {
	switch c {
	case Malformed:
		return "malformed"
	case Spoofed:
		return "spoofed"
	case Disconnected:
		return "disconnected"
	case Overflow:
		return "overflow"
	case Lost:
		return "lost"
	case QueueFull:
		return "queue full"
	case LinkDown:
		return "link down"
	case Partitioned:
		return "partitioned"
	default:
		return "unknown"
	}
}

// Direction is the way of a frame on a link, seen from the guest.
type Direction int

// The directions of a link.
const (
	// Egress is from the guest into the network.
	Egress Direction = iota
	// Ingress is from the network to the guest.
	Ingress
	directions
)

// String is the direction as the topology writes it.
func (d Direction) String() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// Traffic counts Ethernet frames and their bytes, without QEMU's length prefix.
type Traffic struct {
	Frames, Bytes uint64
}

// Counters is what a link has carried since its fabric began. Frames of the control path are apart from the others.
type Counters struct {
	Egress, Ingress               Traffic
	ControlEgress, ControlIngress Traffic
	// Dropped has an entry for each cause that occurred, both directions and both paths together.
	Dropped map[Cause]uint64
	// What else the link's conditions did to data frames, both directions together: copies that were made, frames that were
	// sent ahead of others, and frames that had a bit inverted.
	Duplicated, Reordered, Corrupted uint64
}

// counters is the live form of Counters: [direction][control path or not].
type counters struct {
	traffic [directions][2]struct{ frames, bytes atomic.Uint64 }
	drops   [causes]atomic.Uint64

	duplicated, reordered, corrupted atomic.Uint64
}

const (
	onData    = 0
	onControl = 1
)

func (c *counters) count(d Direction, path int, t Traffic) {
	if t.Frames == 0 {
		return
	}
	c.traffic[d][path].frames.Add(t.Frames)
	c.traffic[d][path].bytes.Add(t.Bytes)
}

func (c *counters) dropped(cause Cause, n int) {
	if n > 0 {
		c.drops[cause].Add(uint64(n))
	}
}

func (c *counters) snapshot() Counters {
	read := func(d Direction, path int) Traffic {
		t := &c.traffic[d][path]
		return Traffic{Frames: t.frames.Load(), Bytes: t.bytes.Load()}
	}
	s := Counters{
		Egress: read(Egress, onData), Ingress: read(Ingress, onData),
		ControlEgress: read(Egress, onControl), ControlIngress: read(Ingress, onControl),
		Dropped:    make(map[Cause]uint64),
		Duplicated: c.duplicated.Load(), Reordered: c.reordered.Load(), Corrupted: c.corrupted.Load(),
	}
	for cause := range c.drops {
		if n := c.drops[cause].Load(); n > 0 {
			s.Dropped[Cause(cause)] = n
		}
	}
	return s
}

func total(batch []*frame) Traffic {
	t := Traffic{Frames: uint64(len(batch))}
	for _, f := range batch {
		t.Bytes += uint64(f.len())
	}
	return t
}
