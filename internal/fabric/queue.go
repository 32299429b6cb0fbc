package fabric

import "sync"

// limits bound a queue, in frames and in bytes on the wire.
type limits struct{ frames, bytes int }

var (
	// dataLimits hold some milliseconds of what a guest can take: more would only add delay.
	dataLimits = limits{frames: 2048, bytes: 2 << 20}
	// controlLimits let control frames in where data has filled the queue.
	controlLimits = limits{frames: 8192, bytes: 8 << 20}
)

// queue is a bounded queue of frames with many senders, who never wait, and one receiver.
type queue struct {
	mu      sync.Mutex
	frames  []*frame
	held    limits // queued, or taken and not yet done
	open    bool
	waiting bool
	wake    chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// push takes over as many frames of batch as fit, in order, and returns how many those are; the rest stays the caller's.
// While the queue is shut it takes none, which isOpen tells apart.
func (q *queue) push(batch []*frame, lim limits) (taken int, isOpen bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return 0, false
	}
	for _, f := range batch {
		if q.held.frames >= lim.frames || q.held.bytes+len(f.buf) > lim.bytes {
			break
		}
		q.held.frames++
		q.held.bytes += len(f.buf)
		taken++
	}
	q.frames = append(q.frames, batch[:taken]...)
	if q.waiting && taken > 0 {
		q.waiting = false
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return taken, true
}

// take returns everything queued and leaves spare, emptied, to be filled next. It returns nothing where the queue is empty:
// wake then tells when it is worth coming again.
func (q *queue) take(spare []*frame) []*frame {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.frames) == 0 {
		q.waiting = true
		return nil
	}
	taken := q.frames
	q.frames = spare[:0]
	return taken
}

// done tells that frames taken before need no room any more.
func (q *queue) done(frames, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held.frames -= frames
	q.held.bytes -= bytes
}

// reopen empties the queue and lets frames in.
func (q *queue) reopen(pool *framePool) {
	q.set(pool, true)
}

// shut empties the queue and lets no more frames in.
func (q *queue) shut(pool *framePool) {
	q.set(pool, false)
}

func (q *queue) set(pool *framePool, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	pool.release(q.frames)
	q.frames = q.frames[:0]
	q.held = limits{}
	q.open = open
	q.waiting = false
}
