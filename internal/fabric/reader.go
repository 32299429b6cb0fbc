package fabric

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	readBuffer = 256 << 10 // what one read can bring: about what a unix socket holds
	maxBatch   = 256       // frames handled together
)

// frameReader cuts a stream into frames. It serves one goroutine.
type frameReader struct {
	src        io.Reader
	pool       *framePool
	origin     uint16 // of the frames
	buf        []byte
	start, end int
	cache      []*frame
	runts      int // frames too short for an Ethernet header, skipped since the last call of takeRunts
}

func newFrameReader(src io.Reader, pool *framePool) *frameReader {
	return &frameReader{src: src, pool: pool, buf: make([]byte, readBuffer), cache: make([]*frame, 0, maxBatch)}
}

// next waits for at least one frame and appends to batch those that have arrived, at most maxBatch; the caller owns the
// references. A length no frame can have is an error: what follows it cannot be told apart any more.
func (r *frameReader) next(batch []*frame) ([]*frame, error) {
	for {
		var err error
		if batch, err = r.cut(batch); err != nil || len(batch) > 0 {
			return batch, err
		}
		if err = r.fill(); err != nil {
			return batch, err
		}
	}
}

// cut appends the complete frames of the buffer. Good frames before a bad length are returned first, without the error.
func (r *frameReader) cut(batch []*frame) ([]*frame, error) {
	for len(batch) < maxBatch && r.end-r.start >= prefixLen {
		n := binary.BigEndian.Uint32(r.buf[r.start:])
		if n == 0 || n > maxFrame {
			if len(batch) > 0 {
				return batch, nil
			}
			return batch, fmt.Errorf("frame of %d bytes announced, want 1 to %d", n, maxFrame)
		}
		whole := prefixLen + int(n)
		if r.end-r.start < whole {
			break
		}
		if n < headerLen {
			r.runts++
		} else {
			batch = append(batch, r.frame(r.buf[r.start+prefixLen:r.start+whole]))
		}
		r.start += whole
	}
	return batch, nil
}

func (r *frameReader) frame(data []byte) *frame {
	class := classOf(len(data))
	var f *frame
	if class == 0 {
		if len(r.cache) == 0 {
			r.cache = r.pool.fill(r.cache, maxBatch/4)
		}
		last := len(r.cache) - 1
		f, r.cache = r.cache[last].reset(0, len(data)), r.cache[:last]
	} else {
		f = r.pool.get(len(data))
	}
	copy(f.bytes(), data)
	f.origin = r.origin
	return f
}

func (r *frameReader) fill() error {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	if r.end > 0 && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *frameReader) takeRunts() int {
	n := r.runts
	r.runts = 0
	return n
}

// close gives the frames it holds back to the pool.
func (r *frameReader) close() {
	r.pool.release(r.cache)
	r.cache = nil
}
