package fabric

import (
	"sync"
	"time"

	"ionlab/internal/fabric/capture"
)

// captured is what waits for a capture's file: a frame, of which it holds a reference, or a comment.
type captured struct {
	frame     *frame // nil for a comment
	comment   string
	at        time.Time
	iface     int
	direction capture.Direction
}

func (r *captured) write(file *capture.Writer) error {
	if r.frame == nil {
		return file.Comment(r.at, r.comment)
	}
	return file.Frame(capture.Frame{At: r.at, Interface: r.iface, Direction: r.direction, Data: r.frame.bytes()})
}

// captureQueue is a bounded queue with many senders, who never wait, and one receiver.
type captureQueue struct {
	clock func() time.Time
	wake  chan struct{}

	mu      sync.Mutex
	records []captured
	held    limits
	ended   bool
	stats   []capture.Statistics // by interface
}

// maxComments bounds the comments that wait beyond the frames.
const maxComments = 1024

func (q *captureQueue) init(links int, clock func() time.Time) {
	q.clock, q.wake = clock, make(chan struct{}, 1)
	q.stats = make([]capture.Statistics, links)
	now := clock()
	for i := range q.stats {
		q.stats[i].Began = now
	}
}

// push takes a reference to as many frames of batch as fit and counts the others. The batch stays the caller's.
func (q *captureQueue) push(iface int, d capture.Direction, batch []*frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	at := q.clock()
	stats := &q.stats[iface]
	stats.Received += uint64(len(batch))
	for i, f := range batch {
		if q.held.frames >= captureLimits.frames || q.held.bytes+len(f.buf) > captureLimits.bytes {
			stats.Dropped += uint64(len(batch) - i)
			break
		}
		f.refs.Add(1)
		q.held.frames++
		q.held.bytes += len(f.buf)
		q.records = append(q.records, captured{frame: f, at: at, iface: iface, direction: d})
	}
	q.wakeLocked()
}

func (q *captureQueue) comment(text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || len(q.records) >= captureLimits.frames+maxComments {
		return
	}
	q.records = append(q.records, captured{comment: text, at: q.clock()})
	q.wakeLocked()
}

func (q *captureQueue) wakeLocked() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns everything queued, leaving spare to be filled next, or tells that nothing will come any more.
func (q *captureQueue) take(spare []captured) (batch []captured, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.records) == 0 {
		return nil, q.ended
	}
	batch, q.records = q.records, spare[:0]
	return batch, false
}

// release gives back the frames of a batch taken before, and their room.
func (q *captureQueue) release(batch []captured, pool *framePool) {
	frames, done := make([]*frame, 0, len(batch)), limits{}
	for i := range batch {
		if f := batch[i].frame; f != nil {
			frames = append(frames, f)
			done.frames++
			done.bytes += len(f.buf)
		}
	}
	pool.release(frames)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held.frames -= done.frames
	q.held.bytes -= done.bytes
}

// end lets nothing more in.
func (q *captureQueue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.ended = true
	now := q.clock()
	for i := range q.stats {
		q.stats[i].Ended = now
	}
	q.wakeLocked()
}

func (q *captureQueue) statistics() []capture.Statistics {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]capture.Statistics(nil), q.stats...)
}

func (q *captureQueue) totals() (received, dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.stats {
		received += int(s.Received)
		dropped += int(s.Dropped)
	}
	return received, dropped
}
