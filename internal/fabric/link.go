package fabric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// Link is one node's port on one network: a unix socket on which the node's QEMU connects. A later connection replaces the
// one before, so a machine may be restarted or restored. Its methods may be called concurrently.
type Link struct {
	node, network string
	addr          netip.Addr
	index         int // its port of the switch
	sw            *vswitch
	control       controlPath
	log           *slog.Logger

	stages [directions]atomic.Pointer[stageBox]
	next   [directions]func([]*frame) // enter and leave: where a stage sends what it lets pass
	counts counters
	queue  *queue
	ln     *net.UnixListener
	path   string

	mu      sync.Mutex
	conn    *net.UnixConn // nil while no QEMU is connected
	closed  bool
	serving sync.WaitGroup
}

func newLink(network *Network, index int, host Host, path string) *Link {
	l := &Link{
		node: host.Node, addr: host.Addr, network: network.name, index: index, path: path,
		sw: network.sw, control: network.controlPath, log: network.log, queue: newQueue(),
	}
	l.next = [directions]func([]*frame){Egress: l.enter, Ingress: l.leave}
	return l
}

// Node is the name of the link's node.
func (l *Link) Node() string { return l.node }

// Network is the name of the link's network.
func (l *Link) Network() string { return l.network }

// Connected reports whether a QEMU has the link open.
func (l *Link) Connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}

// Counters is what the link has carried and dropped until now.
func (l *Link) Counters() Counters { return l.counts.snapshot() }

// setStage puts s, or nothing where s is nil, in the way of one direction from the next frame on.
func (l *Link) setStage(d Direction, s stage) {
	if s == nil {
		l.stages[d].Store(nil)
		return
	}
	l.stages[d].Store(&stageBox{s})
}

// listen opens the link's socket for owner alone.
func (l *Link) listen(ctx context.Context, owner *Owner) error {
	// Linux gives a unix socket's file the mode its descriptor has at bind: so it is never open to others, not even briefly.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }), err)
	}}
	ln, err := lc.Listen(ctx, "unix", l.path)
	if err != nil {
		return fmt.Errorf("listen for node %q on network %q: %w", l.node, l.network, err)
	}
	l.ln = ln.(*net.UnixListener)
	if owner != nil && os.Geteuid() == 0 {
		if err := os.Lchown(l.path, owner.UID, owner.GID); err != nil {
			return fmt.Errorf("give socket %s to user %d: %w", l.path, owner.UID, err)
		}
	}
	return nil
}

// serve accepts connections until the link is closed.
func (l *Link) serve(ctx context.Context) {
	for {
		conn, err := l.ln.AcceptUnix()
		if err == nil {
			l.replace(ctx, conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.log.Warn("cannot accept a link's connection", "node", l.node, "network", l.network, "err", err)
		if !pause(ctx, acceptRetry) {
			return
		}
	}
}

// replace makes conn the link's connection, after the one before is gone.
func (l *Link) replace(ctx context.Context, conn *net.UnixConn) {
	l.disconnect()
	l.serving.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return
	}
	l.conn = conn
	l.log.Debug("link connected", "node", l.node, "network", l.network)
	l.queue.reopen(l.sw.pool)
	done := make(chan struct{})
	l.serving.Go(func() { l.session(ctx, conn, done) })
	l.serving.Go(func() {
		l.write(conn, done)
		_ = conn.Close() // So that the reader ends too.
	})
}

// session reads until the connection ends, then undoes what replace did.
func (l *Link) session(ctx context.Context, conn *net.UnixConn, done chan<- struct{}) {
	err := l.read(conn)
	close(done)
	_ = conn.Close()
	l.queue.shut(l.sw.pool)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = nil
	level := slog.LevelDebug
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
		level = slog.LevelWarn // Not how a QEMU ends.
	}
	l.log.Log(ctx, level, "link disconnected", "node", l.node, "network", l.network, "err", err)
}

// disconnect ends the present connection, if there is one.
func (l *Link) disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

// close stops the link, waits for its connection's goroutines and removes its socket. The goroutine in serve ends soon after.
func (l *Link) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	var err error
	if l.ln != nil {
		if err = l.ln.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	l.disconnect()
	l.serving.Wait()
	return err
}
