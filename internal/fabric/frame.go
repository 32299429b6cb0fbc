package fabric

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
)

const (
	prefixLen = 4     // the length before each frame on QEMU's stream sockets
	headerLen = 14    // destination, source, EtherType
	maxFrame  = 65550 // the largest frame taken from a guest: 64 KiB of IP packet and its Ethernet header
)

// frame is one Ethernet frame behind its length prefix, ready to be written to a socket as it is. It is shared by
// reference count, and nobody writes to it once it has entered the switch: who wants to change one takes a copy.
type frame struct {
	refs  atomic.Int32
	class int
	// origin is the number of the node or router that sent the frame first; routers hand it on. 0 is the fabric itself.
	origin uint16
	// at is when the frame was due on its egress lane, by the scheduler's clock; 0 where none held it.
	at  int64
	buf []byte
}

// wire is what goes over a stream socket: the prefix and the frame.
func (f *frame) wire() []byte { return f.buf }

// bytes is the Ethernet frame.
func (f *frame) bytes() []byte { return f.buf[prefixLen:] }

func (f *frame) len() int { return len(f.buf) - prefixLen }

// sameWay reports whether a switch treats two frames alike: same destination, source and origin.
func (f *frame) sameWay(o *frame) bool {
	return [12]byte(f.buf[prefixLen:]) == [12]byte(o.buf[prefixLen:]) && f.origin == o.origin
}

func (f *frame) dst() mac { return macOf(f.buf[prefixLen:]) }
func (f *frame) src() mac { return macOf(f.buf[prefixLen+6:]) }

func (f *frame) etherType() uint16 { return binary.BigEndian.Uint16(f.buf[prefixLen+12:]) }

// mac is a hardware address in the low 48 bits, so that it is cheap to compare and to hash.
type mac uint64

func macOf(b []byte) mac {
	_ = b[5]
	return mac(b[0])<<40 | mac(b[1])<<32 | mac(b[2])<<24 | mac(b[3])<<16 | mac(b[4])<<8 | mac(b[5])
}

const broadcast mac = 0xffffffffffff

// group reports whether m is a multicast or broadcast address.
func (m mac) group() bool { return m&(1<<40) != 0 }

func (m mac) bytes() []byte {
	return []byte{byte(m >> 40), byte(m >> 32), byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}
}

// String is the usual form, six bytes with colons.
func (m mac) String() string { return net.HardwareAddr(m.bytes()).String() }

// frameClasses are the buffer sizes kept for reuse, prefix included, and how many of each: usual frames, jumbo frames and
// the largest. What is returned beyond that is left to the garbage collector.
var frameClasses = [...]struct{ size, keep int }{{2048, 8192}, {16 << 10, 512}, {prefixLen + maxFrame, 64}}

// framePool lends frames. Its methods may be called concurrently.
type framePool struct {
	mu   sync.Mutex
	free [len(frameClasses)][]*frame
}

// get returns a frame of n bytes with one reference and its prefix written; its content is undefined.
func (p *framePool) get(n int) *frame {
	class := classOf(n)
	p.mu.Lock()
	f := p.popLocked(class)
	p.mu.Unlock()
	return f.reset(class, n)
}

// fill appends usual-sized frames to cache until it holds want, under one lock.
func (p *framePool) fill(cache []*frame, want int) []*frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(cache) < want {
		f := p.popLocked(0)
		if f == nil {
			f = (*frame)(nil).reset(0, 0)
		}
		cache = append(cache, f)
	}
	return cache
}

// release gives back one reference to each frame of batch, and leaves the slice as it is.
func (p *framePool) release(batch []*frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range batch {
		if (f.refs.Load() == 1 || f.refs.Add(-1) == 0) && len(p.free[f.class]) < frameClasses[f.class].keep {
			p.free[f.class] = append(p.free[f.class], f)
		}
	}
}

func (p *framePool) popLocked(class int) *frame {
	free := p.free[class]
	if len(free) == 0 {
		return nil
	}
	f := free[len(free)-1]
	free[len(free)-1] = nil
	p.free[class] = free[:len(free)-1]
	return f
}

// reset makes f, or a new frame where f is nil, a frame of n bytes with one reference.
func (f *frame) reset(class, n int) *frame {
	if f == nil {
		f = &frame{class: class, buf: make([]byte, frameClasses[class].size)}
	}
	f.refs.Store(1)
	f.origin, f.at = 0, 0
	f.buf = f.buf[:prefixLen+n]
	binary.BigEndian.PutUint32(f.buf, uint32(n))
	return f
}

func classOf(n int) int {
	for class := range frameClasses {
		if prefixLen+n <= frameClasses[class].size {
			return class
		}
	}
	return len(frameClasses) - 1
}
