package fabric

import "net"

const maxVector = 128 // buffers in one write: about what a unix socket holds

// sender takes frames of a link's owner into the network. It serves one goroutine; a link may have several.
type sender struct {
	link  *Link
	split splitter
}

// send takes over the references of batch, not the slice: the frames go as if a guest had sent them. Their origin must be
// set.
func (s *sender) send(batch []*frame) {
	l := s.link
	control, data := s.split.by(batch, l.control)
	l.counts.count(Egress, onControl, total(control))
	l.counts.count(Egress, onData, total(data))
	if len(control) > 0 {
		l.sw.toControl(l.index, control)
	}
	if len(data) == 0 {
		return
	}
	if t := l.taps.Load(); t != nil {
		t.egress(data)
	}
	if l.down.Load() {
		l.drop(LinkDown, data)
		return
	}
	l.pass(Egress, data)
}

// pass sends data frames through the direction's stage, if there is one.
func (l *Link) pass(d Direction, batch []*frame) {
	if box := l.stages[d].Load(); box != nil {
		box.accept(batch)
		return
	}
	l.next[d](batch)
}

// enter is the switch's side of the egress stage.
func (l *Link) enter(batch []*frame) { l.sw.input(l.index, batch) }

// leave is the owner's side of the ingress stage, where a link that is down is cut.
func (l *Link) leave(batch []*frame) {
	if l.down.Load() {
		l.drop(LinkDown, batch)
		return
	}
	if t := l.taps.Load(); t != nil {
		t.ingress(batch)
	}
	l.hand(batch, onData)
}

// deliver takes frames from the switch; all of a batch have the same source and the same origin.
func (l *Link) deliver(batch []*frame) {
	switch {
	case l.control.toGuest(batch[0]):
		l.hand(batch, onControl)
	case l.parts.blocks(batch[0].origin, l.origin):
		l.drop(Partitioned, batch)
	default:
		l.pass(Ingress, batch)
	}
}

func (l *Link) dropped(cause Cause, n int) { l.counts.dropped(cause, n) }

// drop releases frames that go nowhere.
func (l *Link) drop(cause Cause, batch []*frame) {
	l.counts.dropped(cause, len(batch))
	l.sw.pool.release(batch)
}

// hand gives frames to the owner.
func (l *Link) hand(batch []*frame, path int) {
	traffic := total(batch)
	n, cause := l.receiver().receive(batch, path)
	if n == len(batch) {
		l.counts.count(Ingress, path, traffic)
		return
	}
	rest := batch[n:]
	lost := total(rest)
	l.counts.count(Ingress, path, Traffic{traffic.Frames - lost.Frames, traffic.Bytes - lost.Bytes})
	l.drop(cause, rest)
}

// read takes the guest's frames into the network until the connection ends.
func (s *socket) read(conn net.Conn) error {
	r := newFrameReader(conn, s.link.sw.pool)
	r.origin = s.link.origin
	defer r.close()
	batch := make([]*frame, 0, maxBatch)
	out := sender{link: s.link}
	for {
		var err error
		batch, err = r.next(batch[:0])
		s.link.dropped(Malformed, r.takeRunts())
		if err != nil {
			return err
		}
		out.send(batch)
	}
}

// write sends what is queued until the connection breaks or done is closed.
func (s *socket) write(conn net.Conn, done <-chan struct{}) {
	var w vectorWriter
	pool := s.link.sw.pool
	spare := make([]*frame, 0, maxBatch)
	for {
		batch := s.queue.take(spare)
		if len(batch) == 0 {
			select {
			case <-done:
				return
			case <-s.queue.wake:
			}
			continue
		}
		err := w.write(conn, batch, s.queue)
		pool.release(batch)
		if err != nil {
			return
		}
		clear(batch)
		spare = batch
	}
}

// vectorWriter writes frames many at a time, without copying them together.
type vectorWriter struct {
	buffers net.Buffers
	pending net.Buffers // what WriteTo eats up
}

func (w *vectorWriter) write(conn net.Conn, batch []*frame, q *queue) error {
	for len(batch) > 0 {
		part := batch[:min(len(batch), maxVector)]
		batch = batch[len(part):]
		w.buffers = w.buffers[:0]
		bytes := 0
		for _, f := range part {
			w.buffers = append(w.buffers, f.wire())
			bytes += len(f.buf)
		}
		w.pending = w.buffers
		_, err := w.pending.WriteTo(conn)
		q.done(len(part), bytes)
		if err != nil {
			return err
		}
	}
	return nil
}

// splitter sorts a guest's frames into those of the control path and the others, in slices that it reuses.
type splitter struct{ control, data []*frame }

func (s *splitter) by(batch []*frame, path controlPath) (control, data []*frame) {
	s.control, s.data = s.control[:0], s.data[:0]
	for _, f := range batch {
		if path.fromGuest(f) {
			s.control = append(s.control, f)
		} else {
			s.data = append(s.data, f)
		}
	}
	return s.control, s.data
}
