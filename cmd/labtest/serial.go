package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ionlab/internal/poll"
)

// reattachLimit is how long a console waits for another QEMU when its own has gone: a revert takes a second or two, and so does a
// reboot without KVM.
const reattachLimit = 5 * time.Second

// serial is a node's serial console. It goes on with the node's next QEMU where one follows, and ends where none does.
type serial struct {
	net.Conn                               // the first one
	next     func() (*net.UnixConn, error) // waits for another

	mu   sync.Mutex
	now  *net.UnixConn
	over bool
}

// openSerial opens the console at a socket, until ctx ends.
func openSerial(ctx context.Context, path string) (*serial, error) {
	conn, err := attach(ctx, path)
	if err != nil {
		return nil, err
	}
	return &serial{Conn: conn, now: conn, next: func() (*net.UnixConn, error) { return attachSoon(ctx, path) }}, nil
}

// attach returns a connection that QEMU has taken up.
func attach(ctx context.Context, path string) (*net.UnixConn, error) {
	conn, err := dialUnix(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := awaitAccept(ctx, path); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// attachSoon waits for a QEMU to attach to, unless the lab goes away.
func attachSoon(ctx context.Context, path string) (conn *net.UnixConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, reattachLimit)
	defer cancel()
	err = poll.Until(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, os.ErrNotExist) {
			return poll.Stop(err)
		}
		var err error
		conn, err = attach(ctx, path)
		return err
	})
	return conn, err
}

func (s *serial) Read(p []byte) (int, error) {
	for {
		n, err := s.current().Read(p)
		if n > 0 || err == nil || !s.reattach() {
			return n, err
		}
	}
}

// Write drops what is typed while no QEMU is there, as a serial line does.
func (s *serial) Write(p []byte) (int, error) {
	_, _ = s.current().Write(p)
	return len(p), nil
}

func (s *serial) current() *net.UnixConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// reattach tells whether another QEMU has followed.
func (s *serial) reattach() bool {
	conn, err := s.next()
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.now.Close() // the other side has gone already
	s.now = conn
	if s.over {
		_ = conn.Close()
	}
	return !s.over
}

func (s *serial) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	return s.now.Close()
}
