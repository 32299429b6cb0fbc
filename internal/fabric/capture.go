package fabric

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"ionlab/internal/fabric/capture"
)

// CaptureOptions are what may be chosen for a capture.
type CaptureOptions struct {
	// Comment says in the file what it is, after the names of what was captured: the lab's name, or the spec's.
	Comment string
	// SnapLen is how many bytes of each frame are kept at most; 0 keeps all.
	SnapLen int
	// MaxBytes bounds the file; 0 does not. Where it is reached, the file says so and counts what it lacks.
	MaxBytes int64
}

// captureLimits bound what waits for a capture's writer. It is there to outlast a pause of the disk, not a slow one.
var captureLimits = limits{frames: 8192, bytes: 8 << 20}

// flushAfter is how long a frame may stay out of the file while no other comes.
const flushAfter = time.Second

// Capture is a pcapng file in the making. It holds up no link: frames wait for the file in a queue of 8192 frames and
// 8 MiB, and what finds that full is missing from the file, which says how many (isb_ifdrop in the statistics of the
// interface). Whoever began it closes it. Its methods may be called concurrently.
type Capture struct {
	taps  *taps
	links []*Link
	file  *capture.Writer
	pool  *framePool
	queue captureQueue
	done  chan struct{}
	err   error // of the file; to be read when done is closed
}

// Capture writes what passes on all links of the network as pcapng to w, from now until Close, the end of ctx or the end of
// the fabric; frames of the control path are left out. Each link is an interface named like alice@wan, on which outbound
// is what the node sends, before impairments, and inbound what it gets, after them. A write that fails ends the capture
// and nothing else. Until Close has returned, w belongs to the capture; a write that never returns holds up Close, and
// that of the fabric.
func (n *Network) Capture(ctx context.Context, w io.Writer, opts CaptureOptions) (*Capture, error) {
	return n.taps.begin(ctx, w, opts, fmt.Sprintf("network %s", n.name), n.ordered)
}

// Capture is Network.Capture for this link alone.
func (l *Link) Capture(ctx context.Context, w io.Writer, opts CaptureOptions) (*Capture, error) {
	return l.watch.network.begin(ctx, w, opts, fmt.Sprintf("link of %s to network %s", l.owner, l.network), []*Link{l})
}

func (t *taps) begin(ctx context.Context, w io.Writer, opts CaptureOptions, what string, links []*Link) (*Capture, error) {
	header := capture.Header{
		Comment:    strings.TrimSpace(what + "\n" + opts.Comment),
		Interfaces: interfacesOf(links), SnapLen: opts.SnapLen, MaxBytes: opts.MaxBytes,
	}
	file, err := capture.NewWriter(w, header)
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", what, err)
	}
	c := &Capture{taps: t, links: links, file: file, pool: t.pool, done: make(chan struct{})}
	c.queue.init(len(links), t.clock)
	if err := t.start(ctx, c); err != nil {
		return nil, fmt.Errorf("capture %s: %w", what, err)
	}
	return c, nil
}

// Comment writes text into the file, between the frames before and those after: see Wireshark's frame.comment.
func (c *Capture) Comment(text string) { c.queue.comment(text) }

// Frames is how many frames have come by, whether the file has room for them or not.
func (c *Capture) Frames() int {
	received, _ := c.queue.totals()
	return received
}

// Dropped is how many of the frames are missing from the file because it could not be written as fast as they came. What
// is missing for CaptureOptions.MaxBytes is not among them.
func (c *Capture) Dropped() int {
	_, dropped := c.queue.totals()
	return dropped
}

// Close ends the capture, writes what is still queued and the statistics, and returns the error that the file had, if any.
// It may be called more than once, on a capture that has ended otherwise, and on nil.
func (c *Capture) Close() error {
	if c == nil {
		return nil
	}
	c.end()
	<-c.done
	return c.err
}

// end lets no more frames come.
func (c *Capture) end() {
	c.taps.remove(c)
	c.queue.end()
}

// run writes the file until the capture ends.
func (c *Capture) run(ctx context.Context) error {
	defer c.end()
	flush := time.NewTicker(flushAfter)
	defer flush.Stop()
	var spare []captured
	for {
		if ctx.Err() != nil {
			c.end()
		}
		batch, ended := c.queue.take(spare)
		switch {
		case len(batch) > 0:
			if err := c.write(batch); err != nil {
				c.discard()
				return err
			}
			spare = batch
		case ended:
			return c.file.Close(c.queue.statistics())
		default:
			if err := c.wait(ctx, flush.C); err != nil {
				c.discard()
				return err
			}
		}
	}
}

// wait returns when there may be something to do. Meanwhile it flushes what has been written.
func (c *Capture) wait(ctx context.Context, flush <-chan time.Time) error {
	for {
		select {
		case <-c.queue.wake:
			return nil
		case <-ctx.Done():
			return nil
		case <-flush:
			if err := c.file.Flush(); err != nil {
				return err
			}
		}
	}
}

// write takes a batch of the queue into the file, and gives its frames back in any case.
func (c *Capture) write(batch []captured) error {
	defer func() {
		c.queue.release(batch, c.pool)
		clear(batch)
	}()
	for i := range batch {
		if err := batch[i].write(c.file); err != nil {
			return err
		}
	}
	return nil
}

// discard gives back what the queue still holds, after an error.
func (c *Capture) discard() {
	c.end()
	batch, _ := c.queue.take(nil)
	c.queue.release(batch, c.pool)
}
