package fabric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
)

// socket is a guest behind a link: the unix socket on which its QEMU connects, and the queue of what it has not read yet. A
// later connection replaces the one before, so a machine may be restarted or restored.
type socket struct {
	link  *Link
	path  string
	queue *queue
	ln    *net.UnixListener

	mu      sync.Mutex
	conn    *net.UnixConn // nil while no QEMU is connected
	closed  bool
	serving sync.WaitGroup
}

// newSocket makes a socket, which is not open yet, and puts it behind the link.
func newSocket(l *Link, path string) *socket {
	s := &socket{link: l, path: path, queue: newQueue()}
	l.socket = s
	l.setReceiver(s)
	return s
}

func (s *socket) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// receive implements receiver: it queues for the guest what its queue has room for.
func (s *socket) receive(batch []*frame, path int) (taken int, cause Cause) {
	lim := dataLimits
	if path == onControl {
		lim = controlLimits
	}
	taken, open := s.queue.push(batch, lim)
	if !open {
		return taken, Disconnected
	}
	return taken, Overflow
}

// listen opens the socket for owner alone.
func (s *socket) listen(ctx context.Context, owner *Owner) error {
	// Linux gives a unix socket's file the mode its descriptor has at bind: so it is never open to others, not even briefly.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }), err)
	}}
	ln, err := lc.Listen(ctx, "unix", s.path)
	if err != nil {
		return fmt.Errorf("listen for node %q on network %q: %w", s.link.owner, s.link.network, err)
	}
	s.ln = ln.(*net.UnixListener)
	if owner != nil && os.Geteuid() == 0 {
		if err := os.Lchown(s.path, owner.UID, owner.GID); err != nil {
			return fmt.Errorf("give socket %s to user %d: %w", s.path, owner.UID, err)
		}
	}
	return nil
}

// serve accepts connections until the socket is closed.
func (s *socket) serve(ctx context.Context) {
	for {
		conn, err := s.ln.AcceptUnix()
		if err == nil {
			s.replace(ctx, conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.link.log.Warn("cannot accept a link's connection", "node", s.link.owner, "network", s.link.network, "err", err)
		if !pause(ctx, acceptRetry) {
			return
		}
	}
}

// replace makes conn the link's connection, after the one before is gone.
func (s *socket) replace(ctx context.Context, conn *net.UnixConn) {
	s.disconnect()
	s.serving.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return
	}
	s.conn = conn
	s.link.log.Debug("link connected", "node", s.link.owner, "network", s.link.network)
	s.queue.reopen(s.link.sw.pool)
	done := make(chan struct{})
	s.serving.Go(func() { s.session(ctx, conn, done) })
	s.serving.Go(func() {
		s.write(conn, done)
		_ = conn.Close() // So that the reader ends too.
	})
}

// session reads until the connection ends, then undoes what replace did.
func (s *socket) session(ctx context.Context, conn *net.UnixConn, done chan<- struct{}) {
	err := s.read(conn)
	close(done)
	_ = conn.Close()
	s.queue.shut(s.link.sw.pool)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = nil
	level := slog.LevelDebug
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
		level = slog.LevelWarn // Not how a QEMU ends.
	}
	s.link.log.Log(ctx, level, "link disconnected", "node", s.link.owner, "network", s.link.network, "err", err)
}

// disconnect ends the present connection, if there is one.
func (s *socket) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// close stops the socket, waits for its connection's goroutines and removes its file. The goroutine in serve ends soon
// after.
func (s *socket) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	var err error
	if s.ln != nil {
		if err = s.ln.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	s.disconnect()
	s.serving.Wait()
	return err
}
