package fabric

import "time"

// The ports that every switch has; links follow.
const (
	controlPort = iota
	gatewayPort
	firstLink
)

// port is where a switch sends frames, and whom it tells about frames from there that it did not pass on.
type port interface {
	// deliver takes over one reference to every frame of batch, but not the slice, and never waits.
	deliver(batch []*frame)
	// dropped tells that n frames which came from this port went nowhere.
	dropped(cause Cause, n int)
}

// vswitch is a learning Ethernet switch. Its ports are added before the first frame and stay; its methods may then be
// called concurrently.
type vswitch struct {
	ports []port // by index: the control endpoint, the gateway, then the links
	table *table
	pool  *framePool
	clock func() time.Time
}

// newSwitch makes a switch whose ports for endpoints are dead until they are plugged.
func newSwitch(pool *framePool, clock func() time.Time) *vswitch {
	s := &vswitch{table: newTable(), pool: pool, clock: clock}
	for range firstLink {
		s.add(deadPort{pool})
	}
	return s
}

// add gives p the next port and returns its index.
func (s *vswitch) add(p port) int {
	s.ports = append(s.ports, p)
	s.table.perPort = append(s.table.perPort, 0)
	return len(s.ports) - 1
}

// plug puts p in a port that there is.
func (s *vswitch) plug(index int, p port) { s.ports[index] = p }

// input switches frames that came in by port from. It takes over the references, not the slice, and does not keep the
// order of the slice.
func (s *vswitch) input(from int, batch []*frame) {
	now := s.clock()
	for len(batch) > 0 {
		n := sameWay(batch)
		s.forward(from, batch[:n], now)
		batch = batch[n:]
	}
}

// toControl takes a guest's frames of the control path to the control endpoint and nowhere else, under the terms of input.
func (s *vswitch) toControl(from int, batch []*frame) {
	now := s.clock()
	for len(batch) > 0 {
		run := batch[:sameWay(batch)]
		batch = batch[len(run):]
		if s.admit(from, run, now) {
			s.send(from, controlPort, run)
		}
	}
}

// sameWay is how many frames at the head of batch have the same destination, source and origin, so that one decision
// serves them all.
func sameWay(batch []*frame) int {
	first := batch[0]
	for i, f := range batch[1:] {
		if !f.sameWay(first) {
			return i + 1
		}
	}
	return len(batch)
}

// forward treats frames that all go the same way.
func (s *vswitch) forward(from int, run []*frame, now time.Time) {
	if !s.admit(from, run, now) {
		return
	}
	if dst := run[0].dst(); !dst.group() {
		if to, ok := s.table.lookup(dst, now); ok {
			s.send(from, to, run)
			return
		}
	}
	s.flood(from, run)
}

// admit learns where the frames' source is, or drops them if it cannot be there.
func (s *vswitch) admit(from int, run []*frame, now time.Time) bool {
	switch src := run[0].src(); {
	case src.group():
		s.drop(from, Malformed, run)
		return false
	case !s.table.learn(src, from, now):
		s.drop(from, Spoofed, run)
		return false
	}
	return true
}

// send delivers to one port. A frame whose receiver is where it came from has already been seen there.
func (s *vswitch) send(from, to int, run []*frame) {
	if to == from {
		s.pool.release(run)
		return
	}
	s.ports[to].deliver(run)
}

func (s *vswitch) flood(from int, run []*frame) {
	if others := int32(len(s.ports) - 2); others > 0 {
		for _, f := range run {
			f.refs.Add(others)
		}
	}
	if len(s.ports) < 2 {
		s.pool.release(run)
		return
	}
	for i, p := range s.ports {
		if i != from {
			p.deliver(run)
		}
	}
}

func (s *vswitch) drop(from int, cause Cause, run []*frame) {
	s.ports[from].dropped(cause, len(run))
	s.pool.release(run)
}
