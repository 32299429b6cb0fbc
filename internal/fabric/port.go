package fabric

import "net"

const maxVector = 128 // buffers in one write: about what a unix socket holds

// read takes the guest's frames into the network until the connection ends.
func (l *Link) read(conn net.Conn) error {
	r := newFrameReader(conn, l.sw.pool)
	defer r.close()
	batch := make([]*frame, 0, maxBatch)
	var split splitter
	isControl := l.control.fromGuest
	for {
		var err error
		batch, err = r.next(batch[:0])
		l.counts.dropped(Malformed, r.takeRunts())
		if err != nil {
			return err
		}
		control, data := split.by(batch, isControl)
		l.counts.count(Egress, onControl, total(control))
		l.counts.count(Egress, onData, total(data))
		if len(control) > 0 {
			l.sw.toControl(l.index, control)
		}
		if len(data) > 0 {
			l.pass(Egress, data)
		}
	}
}

// pass sends data frames through the direction's stage, if there is one.
func (l *Link) pass(d Direction, batch []*frame) {
	if box := l.stages[d].Load(); box != nil {
		box.accept(batch, l.next[d])
		return
	}
	l.next[d](batch)
}

// enter is the switch's side of the egress stage.
func (l *Link) enter(batch []*frame) { l.sw.input(l.index, batch) }

// leave is the guest's side of the ingress stage.
func (l *Link) leave(batch []*frame) { l.enqueue(batch, onData, dataLimits) }

// deliver takes frames from the switch; all of a batch have the same source.
func (l *Link) deliver(batch []*frame) {
	if l.control.toGuest(batch[0]) {
		l.enqueue(batch, onControl, controlLimits)
		return
	}
	l.pass(Ingress, batch)
}

func (l *Link) dropped(cause Cause, n int) { l.counts.dropped(cause, n) }

// enqueue queues for the guest what its queue has room for.
func (l *Link) enqueue(batch []*frame, path int, lim limits) {
	traffic := total(batch)
	n, open := l.queue.push(batch, lim)
	if n == len(batch) {
		l.counts.count(Ingress, path, traffic)
		return
	}
	rest := batch[n:]
	lost := total(rest)
	l.counts.count(Ingress, path, Traffic{traffic.Frames - lost.Frames, traffic.Bytes - lost.Bytes})
	cause := Overflow
	if !open {
		cause = Disconnected
	}
	l.counts.dropped(cause, len(rest))
	l.sw.pool.release(rest)
}

// write sends what is queued until the connection breaks or done is closed.
func (l *Link) write(conn net.Conn, done <-chan struct{}) {
	var w vectorWriter
	spare := make([]*frame, 0, maxBatch)
	for {
		batch := l.queue.take(spare)
		if len(batch) == 0 {
			select {
			case <-done:
				return
			case <-l.queue.wake:
			}
			continue
		}
		err := w.write(conn, batch, l.queue)
		l.sw.pool.release(batch)
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

// splitter sorts frames into those of the control path and the others, in slices that it reuses.
type splitter struct{ control, data []*frame }

func (s *splitter) by(batch []*frame, isControl func(*frame) bool) (control, data []*frame) {
	s.control, s.data = s.control[:0], s.data[:0]
	for _, f := range batch {
		if isControl(f) {
			s.control = append(s.control, f)
		} else {
			s.data = append(s.data, f)
		}
	}
	return s.control, s.data
}
