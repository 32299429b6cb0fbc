package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// doors are unix sockets on the host, one per node, that lead to the nodes' SSH servers: the way in for programs
// that are not this process. Their folder is closed to other users.
type doors struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	listeners []net.Listener
	open      map[net.Conn]struct{}
}

// openDoors makes the sockets and the ssh_config that uses them.
func (l *Lab) openDoors(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the lab's own life; Close cancels it.
	d := &doors{cancel: cancel, open: map[net.Conn]struct{}{}}
	l.mu.Lock()
	l.doors = d
	l.mu.Unlock()
	for _, node := range l.nodes {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", node.files.ssh)
		if err != nil {
			return fmt.Errorf("open the way to node %q: %w (a socket's path ends at 107 bytes: a shorter LABTEST_RUN_DIR?)", node.Name(), err)
		}
		d.listeners = append(d.listeners, listener)
		if err := os.Chmod(node.files.ssh, 0o600); err != nil {
			return fmt.Errorf("close the way to node %q to others: %w", node.Name(), err)
		}
		d.wg.Go(func() { d.serve(ctx, listener, node.dialSSH) })
	}
	return l.writeSSHConfig()
}

func (d *doors) serve(ctx context.Context, listener net.Listener, dial func(context.Context) (net.Conn, error)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		if !d.track(conn) {
			return
		}
		d.wg.Go(func() {
			defer d.forget(conn)
			guest, err := dial(ctx)
			if err != nil {
				_, _ = fmt.Fprintf(conn, "labtest: %v\r\n", err) // lines before the SSH banner are shown by ssh -v (RFC 4253, 4.2)
				return
			}
			defer func() { _ = guest.Close() }()
			if !d.track(guest) {
				return
			}
			defer d.forget(guest)
			splice(conn, guest)
		})
	}
}

func (d *doors) track(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		_ = conn.Close()
		return false
	}
	d.open[conn] = struct{}{}
	return true
}

func (d *doors) forget(conn net.Conn) {
	d.mu.Lock()
	delete(d.open, conn)
	d.mu.Unlock()
	_ = conn.Close()
}

// Close shuts the doors and everything that goes through them.
func (d *doors) Close() error {
	if d == nil {
		return nil
	}
	d.cancel()
	var err error
	for _, listener := range d.listeners {
		if e := listener.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	d.mu.Lock()
	open := d.open
	d.open = nil
	d.mu.Unlock()
	for conn := range open {
		_ = conn.Close()
	}
	d.wg.Wait()
	return err
}

// splice copies both ways until both directions have ended; the end of one is passed on.
func splice(a, b net.Conn) {
	var wg sync.WaitGroup
	copyOne := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src) // an error is the end of the direction, as EOF is
		if half, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
			return
		}
		_ = dst.Close()
	}
	wg.Go(func() { copyOne(a, b) })
	wg.Go(func() { copyOne(b, a) })
	wg.Wait()
}
