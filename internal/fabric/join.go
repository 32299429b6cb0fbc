package fabric

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// halfCloser is a connection whose sending side can end alone.
type halfCloser interface{ CloseWrite() error }

// join copies between two streams until both directions have ended or ctx ends, and closes both. The end of one direction
// is passed on as such: the other goes on.
func join(ctx context.Context, a, b net.Conn) {
	stop := closeWith(ctx, a, b)
	defer stop()
	var copies sync.WaitGroup
	copies.Go(func() { copyHalf(b, a) })
	copies.Go(func() { copyHalf(a, b) })
	copies.Wait()
	_ = a.Close()
	_ = b.Close()
}

// copyHalf copies one direction and ends it at dst. A broken direction breaks the other too.
func copyHalf(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if half, ok := dst.(halfCloser); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	_ = dst.Close()
	_ = src.Close()
}

// joinPackets copies datagrams between two connected sockets until neither has received one for idle, one of them breaks
// or ctx ends, and closes both.
func joinPackets(ctx context.Context, a, b net.Conn, idle time.Duration) {
	stop := closeWith(ctx, a, b)
	defer stop()
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var copies sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		copies.Go(func() {
			copyPackets(way[1], way[0], &last, idle)
			_ = a.Close()
			_ = b.Close()
		})
	}
	copies.Wait()
}

func copyPackets(dst, src net.Conn, last *atomic.Int64, idle time.Duration) {
	buf := make([]byte, datagramSize)
	for {
		until := time.Unix(0, last.Load()).Add(idle)
		if err := src.SetReadDeadline(until); err != nil {
			return
		}
		n, err := src.Read(buf)
		if err == nil {
			last.Store(time.Now().UnixNano())
			_, err = dst.Write(buf[:n])
		}
		if isTimeout(err) && time.Since(time.Unix(0, last.Load())) < idle {
			continue // The other way has been in use.
		}
		if err != nil {
			return
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// closeWith closes the connections when ctx ends, unless stop is called first.
func closeWith(ctx context.Context, conns ...net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

// acceptRetry is how long to leave a listener alone that cannot accept: out of descriptors, most likely, which passes.
const acceptRetry = 100 * time.Millisecond

// pause waits for d and returns true, or false as soon as ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
