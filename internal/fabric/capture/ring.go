package capture

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	ringSnap     = 176 // bytes of each frame: the headers and more; a slot is three cache lines
	ringComments = 256
)

// Ring keeps the beginnings of the last frames that passed, at the cost of one short copy each. Its methods may be called
// concurrently.
type Ring struct {
	clock func() time.Time
	size  int

	mu       sync.Mutex
	slots    []slot // nil until the first frame
	recorded uint64 // frames until now; the next one's slot is recorded % size
	comments []note
}

type slot struct {
	at        int64
	length    uint32
	iface     uint16
	direction Direction
	kept      uint8
	data      [ringSnap]byte
}

type note struct {
	at   time.Time
	text string
}

// NewRing makes a ring for so many frames, of which each takes 192 bytes as soon as there is a first. Clock gives the
// frames' time.
func NewRing(frames int, clock func() time.Time) *Ring {
	return &Ring{clock: clock, size: frames}
}

// Batch is a ring that is being recorded to.
type Batch struct {
	ring      *Ring
	at        int64
	iface     uint16
	direction Direction
}

// Begin takes the ring for frames that pass together. The caller calls End as soon as it has added them.
func (r *Ring) Begin(iface int, d Direction) Batch {
	r.mu.Lock()
	if r.slots == nil {
		r.slots = make([]slot, r.size)
	}
	return Batch{ring: r, at: r.clock().UnixNano(), iface: uint16(iface), direction: d}
}

// Add records a frame. It copies of data what it keeps.
func (b Batch) Add(data []byte) {
	r := b.ring
	s := &r.slots[r.recorded%uint64(len(r.slots))]
	r.recorded++
	s.at, s.iface, s.direction = b.at, b.iface, b.direction
	s.length = uint32(len(data))
	if len(data) >= ringSnap {
		s.data = [ringSnap]byte(data) // A copy of known size takes half the time.
		s.kept = ringSnap
		return
	}
	s.kept = uint8(copy(s.data[:], data))
}

// End lets others record.
func (b Batch) End() { b.ring.mu.Unlock() }

// Comment keeps text among the frames. The oldest of many comments are forgotten.
func (r *Ring) Comment(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.comments) == ringComments {
		r.comments = append(r.comments[:0], r.comments[1:]...)
	}
	r.comments = append(r.comments, note{r.clock(), bounded(text)})
}

// Save writes what the ring holds as a pcapng file. The header's comment is completed by how many frames have passed, its
// bounds are the ring's. Frames that pass meanwhile are not held up by w.
func (r *Ring) Save(w io.Writer, h Header) error {
	held, comments, recorded := r.snapshot()
	h.SnapLen, h.MaxBytes = ringSnap, 0
	h.Comment = strings.TrimSpace(fmt.Sprintf("%s\nthe last %d of %d frames, at most %d bytes of each", h.Comment, len(held), recorded, ringSnap))
	c, err := NewWriter(w, h)
	if err != nil {
		return err
	}
	stats := make([]Statistics, len(h.Interfaces))
	for i := range held {
		f := held[i].frame()
		if comments, err = c.commentsUntil(comments, f.At); err != nil {
			return err
		}
		stats[f.Interface].see(f.At)
		if err = c.Frame(f); err != nil {
			return err
		}
	}
	if _, err = c.commentsUntil(comments, r.clock()); err != nil {
		return err
	}
	return c.Close(stats)
}

// snapshot copies the ring's frames, oldest first, and its comments.
func (r *Ring) snapshot() (held []slot, comments []note, recorded uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recorded > uint64(len(r.slots)) {
		oldest := r.recorded % uint64(len(r.slots))
		held = append(held, r.slots[oldest:]...)
		held = append(held, r.slots[:oldest]...)
	} else {
		held = append(held, r.slots[:r.recorded]...)
	}
	return held, append([]note(nil), r.comments...), r.recorded
}

func (s *slot) frame() Frame {
	return Frame{
		At: time.Unix(0, s.at), Interface: int(s.iface), Direction: s.direction, Length: int(s.length), Data: s.data[:s.kept],
	}
}

// commentsUntil writes the notes up to a time and returns the later ones.
func (c *Writer) commentsUntil(notes []note, at time.Time) ([]note, error) {
	for len(notes) > 0 && !notes[0].at.After(at) {
		if err := c.Comment(notes[0].at, notes[0].text); err != nil {
			return nil, err
		}
		notes = notes[1:]
	}
	return notes, nil
}

// see counts a frame that was received at a time.
func (s *Statistics) see(at time.Time) {
	if s.Received == 0 {
		s.Began = at
	}
	s.Received++
	s.Ended = at
}
