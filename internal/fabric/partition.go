package fabric

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// partitions number the nodes and routers, and know from whom to whom nothing passes. Members are added before the first
// frame; the other methods may be called concurrently.
type partitions struct {
	names  []string // by number; 0 is the fabric's own endpoints, which nothing blocks
	number map[string]uint16

	mu   sync.Mutex
	live atomic.Pointer[blockade] // nil while nothing is blocked
}

// blockade is a set of pairs of numbers, never changed once it is in force.
type blockade struct {
	members int
	pairs   []bool // [from*members+to]
}

func newPartitions() *partitions {
	return &partitions{names: []string{""}, number: make(map[string]uint16)}
}

// member returns the number of a node or router.
func (p *partitions) member(name string) uint16 {
	n, ok := p.number[name]
	if !ok {
		n = uint16(len(p.names))
		p.names = append(p.names, name)
		p.number[name] = n
	}
	return n
}

// blocks reports whether frames that one member sent first may not reach another.
func (p *partitions) blocks(from, to uint16) bool {
	b := p.live.Load()
	return b != nil && b.pairs[int(from)*b.members+int(to)]
}

// set blocks or unblocks one way.
func (p *partitions) set(from, to string, blocked bool) error {
	a, err := p.find(from)
	if err != nil {
		return err
	}
	b, err := p.find(to)
	if err != nil {
		return err
	}
	if a == b {
		return fmt.Errorf("%q cannot be parted from itself", from)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := &blockade{members: len(p.names)}
	if now := p.live.Load(); now != nil {
		next.pairs = slices.Clone(now.pairs)
	} else {
		next.pairs = make([]bool, next.members*next.members)
	}
	next.pairs[int(a)*next.members+int(b)] = blocked
	if !slices.Contains(next.pairs, true) {
		next = nil
	}
	p.live.Store(next)
	return nil
}

func (p *partitions) find(name string) (uint16, error) {
	if n, ok := p.number[name]; ok {
		return n, nil
	}
	return 0, fmt.Errorf("no node or router %q; there are: %s", name, strings.Join(p.names[1:], ", "))
}

// list is what is blocked, in the order of numbers.
func (p *partitions) list() [][2]string {
	b := p.live.Load()
	if b == nil {
		return nil
	}
	var pairs [][2]string
	for i, blocked := range b.pairs {
		if blocked {
			pairs = append(pairs, [2]string{p.names[i/b.members], p.names[i%b.members]})
		}
	}
	return pairs
}

// Block lets no frame that one node or router sent first reach another, on any network and through any router, from the
// next frame on. It is one-way: a partition is a set of these. The control path stays.
func (f *Fabric) Block(from, to string) error {
	if err := f.parts.set(from, to, true); err != nil {
		return fmt.Errorf("block frames from %q to %q: %w", from, to, err)
	}
	return nil
}

// Unblock takes back what Block with the same names did; there need be none.
func (f *Fabric) Unblock(from, to string) error {
	if err := f.parts.set(from, to, false); err != nil {
		return fmt.Errorf("unblock frames from %q to %q: %w", from, to, err)
	}
	return nil
}

// Blocked is every pair of names, from and to, that Block is in force for.
func (f *Fabric) Blocked() [][2]string { return f.parts.list() }
