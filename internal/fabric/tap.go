package fabric

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ionlab/internal/fabric/capture"
)

// ringFrames is how many frames of a network are kept for the evidence of a failure, in 384 KiB.
const ringFrames = 2048

// taps is what watches the frames of one network: the ring, always, and the captures of the moment.
type taps struct {
	ring  *capture.Ring
	pool  *framePool
	clock func() time.Time

	running  sync.WaitGroup
	mu       sync.Mutex
	closed   bool
	captures map[*Capture]struct{}
}

func newTaps(pool *framePool, clock func() time.Time) *taps {
	return &taps{ring: capture.NewRing(ringFrames, clock), pool: pool, clock: clock, captures: make(map[*Capture]struct{})}
}

// watch is the tap of one link: it shows the frames to the ring, and to whom else there is.
type watch struct {
	network *taps
	index   int // of the link in its network, by which the ring knows it
	live    atomic.Pointer[[]watcher]
}

func (t *taps) watch(index int) *watch { return &watch{network: t, index: index} }

// watcher is a capture that a link's frames are shown to.
type watcher struct {
	capture *Capture
	iface   int
}

// egress implements tap.
func (w *watch) egress(batch []*frame) { w.show(capture.Outbound, batch) }

// ingress implements tap.
func (w *watch) ingress(batch []*frame) { w.show(capture.Inbound, batch) }

func (w *watch) show(way capture.Direction, batch []*frame) {
	ring := w.network.ring.Begin(w.index, way)
	for _, f := range batch {
		ring.Add(f.bytes())
	}
	ring.End()
	if live := w.live.Load(); live != nil {
		for _, c := range *live {
			c.capture.queue.push(c.iface, way, batch)
		}
	}
}

// start shows a capture the frames of its links and sets it going.
func (t *taps) start(ctx context.Context, c *Capture) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	t.captures[c] = struct{}{}
	for i, l := range c.links {
		l.watch.change(func(live []watcher) []watcher { return append(live, watcher{c, i}) })
	}
	t.running.Go(func() {
		defer close(c.done)
		c.err = c.run(ctx)
	})
	return nil
}

// remove shows a capture no more frames.
func (t *taps) remove(c *Capture) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.captures, c)
	for _, l := range c.links {
		l.watch.change(func(live []watcher) []watcher {
			return slices.DeleteFunc(live, func(other watcher) bool { return other.capture == c })
		})
	}
}

// change replaces the list of watchers by what edit makes of a copy. It is called under the mutex of taps.
func (w *watch) change(edit func([]watcher) []watcher) {
	var live []watcher
	if old := w.live.Load(); old != nil {
		live = slices.Clone(*old)
	}
	if live = edit(live); len(live) == 0 {
		w.live.Store(nil)
		return
	}
	w.live.Store(&live)
}

// close ends all captures and waits for them. Their errors are for who began them.
func (t *taps) close() {
	t.mu.Lock()
	t.closed = true
	captures := make([]*Capture, 0, len(t.captures))
	for c := range t.captures {
		captures = append(captures, c)
	}
	t.mu.Unlock()
	for _, c := range captures {
		c.end()
	}
	t.running.Wait()
}

// comment writes text into the ring and every capture.
func (t *taps) comment(text string) {
	t.ring.Comment(text)
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.captures {
		c.Comment(text)
	}
}

// Recent writes the last frames of all links of the network as pcapng to w, like a capture that had been running, but at
// most 2048 frames, and the first 176 bytes of each.
func (n *Network) Recent(w io.Writer) error {
	err := n.taps.ring.Save(w, capture.Header{Comment: fmt.Sprintf("network %s", n.name), Interfaces: interfacesOf(n.ordered)})
	if err != nil {
		return fmt.Errorf("write the last frames of network %q: %w", n.name, err)
	}
	return nil
}

// Comment writes text, such as the step of a spec, into all captures of the fabric and among the frames of Recent.
func (f *Fabric) Comment(text string) {
	for _, n := range f.networks {
		n.taps.comment(text)
	}
}

// interfacesOf describes links. The format wants an interface also where a network has no link.
func interfacesOf(links []*Link) []capture.Interface {
	if len(links) == 0 {
		return []capture.Interface{{Name: "none", Description: "the network has no links"}}
	}
	described := make([]capture.Interface, len(links))
	for i, l := range links {
		described[i] = capture.Interface{Name: l.owner + "@" + l.network, Description: l.addr.String()}
	}
	return described
}
