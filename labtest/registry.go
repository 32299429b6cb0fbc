package labtest

import "sync"

// registry are the labs that live in this process. Ginkgo's tree of specs is one per process, and the hook that takes
// evidence is a node of that tree, so it can find the labs of a suite only here.
type registry struct {
	mu   sync.Mutex
	live []*Lab
}

var labs registry //nolint:gochecknoglobals // see registry.

func (r *registry) add(l *Lab) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = append(r.live, l)
}

func (r *registry) remove(l *Lab) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.live {
		if other == l {
			r.live = append(r.live[:i:i], r.live[i+1:]...)
			return
		}
	}
}

func (r *registry) all() []*Lab {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Lab(nil), r.live...)
}
