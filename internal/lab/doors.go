package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// acceptRetry is how long to leave a listener alone that cannot accept.
const acceptRetry = 100 * time.Millisecond

// doors are unix sockets on the host for programs that are not this process: one per node, that leads to its SSH server,
// and one that tells the state of the networks. Their folder is closed to other users.
type doors struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	listeners []net.Listener
	open      map[net.Conn]string // by the name of the node
}

// openDoors makes the sockets and the ssh_config that uses them.
func (l *Lab) openDoors(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the lab's own life; Close cancels it.
	d := &doors{cancel: cancel, open: map[net.Conn]string{}}
	l.mu.Lock()
	l.doors = d
	l.mu.Unlock()
	for _, node := range l.nodes {
		if err := d.add(ctx, l.log, node.files.ssh, node.Name(), node.letIn); err != nil {
			return fmt.Errorf("open the way to node %q: %w", node.Name(), err)
		}
	}
	if err := d.add(ctx, l.log, filepath.Join(l.runDir("d"), netDoor), "", l.tellNetState); err != nil {
		return fmt.Errorf("open the way to the networks' state: %w", err)
	}
	return l.writeSSHConfig()
}

// add opens one socket whose clients serve deals with, as the door of a node or of the lab.
func (d *doors) add(ctx context.Context, log *slog.Logger, path, name string, serve func(context.Context, net.Conn)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("%w (a socket's path ends at 107 bytes: a shorter LABTEST_RUN_DIR?)", err)
	}
	d.listeners = append(d.listeners, listener)
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("close it to others: %w", err)
	}
	d.wg.Go(func() { d.accept(ctx, log.With("door", filepath.Base(path)), listener, name, serve) })
	return nil
}

func (d *doors) accept(ctx context.Context, log *slog.Logger, listener net.Listener, name string, serve func(context.Context, net.Conn)) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // Out of descriptors, most likely, which passes.
			log.Warn("cannot let a client in", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptRetry):
				continue
			}
		}
		if !d.track(conn, name) {
			return
		}
		d.wg.Go(func() {
			defer d.forget(conn)
			serve(ctx, conn)
		})
	}
}

// letIn joins one client to the guest. Why that cannot be is told in the line before the SSH banner, which ssh -v shows
// (RFC 4253, 4.2).
func (n *Node) letIn(ctx context.Context, conn net.Conn) {
	_, err := n.alive()
	if err != nil {
		refuse(conn, err)
		return
	}
	guest, err := n.dialSSH(ctx)
	if err != nil {
		refuse(conn, err)
		return
	}
	d := n.lab.doors
	if !d.track(guest, n.Name()) {
		return
	}
	defer d.forget(guest)
	splice(conn, guest)
}

// refuse says why and waits a moment for the client to read it: a socket that is closed with unread input takes its
// own last words back.
func refuse(conn net.Conn, why error) {
	_, _ = fmt.Fprintf(conn, "labtest: %s\r\n", strings.ReplaceAll(why.Error(), "\n", "\r\n"))
	if half, ok := conn.(*net.UnixConn); ok {
		_ = half.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.Copy(io.Discard, conn)
}

// drop ends what goes through a node's door: its machine is gone.
func (d *doors) drop(node string) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn, name := range d.open {
		if name == node {
			_ = conn.Close()
		}
	}
}

func (d *doors) track(conn net.Conn, node string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		_ = conn.Close()
		return false
	}
	d.open[conn] = node
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
