package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// listen makes a unix socket and serves each connection.
func listen(t *testing.T, path string, serve func(*net.UnixConn)) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			wg.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

func TestConnectPassesBothWaysAndTheEnd(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	path := filepath.Join(t.TempDir(), "s")
	// What it answers after the end of its input proves that the end was passed on.
	listen(t, path, func(conn *net.UnixConn) {
		data, _ := io.ReadAll(conn)
		_, _ = conn.Write(append([]byte("got "), data...))
	})
	payload := bytes.Repeat([]byte{0, 1, 0xff, '\n'}, 1<<18)
	s.in.Write(payload)
	got := s.run(t.Context(), "connect", path)
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect([]byte(got.out)).To(HaveLen(4 + len(payload)))
	g.Expect(bytes.Equal([]byte(got.out[4:]), payload)).To(BeTrue(), "a difference is not worth a megabyte of message")
}

func TestConnectEndsWithTheSocket(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	path := filepath.Join(t.TempDir(), "s")
	listen(t, path, func(conn *net.UnixConn) { _, _ = conn.Write([]byte("bye")) })
	in, feed := io.Pipe() // an input that never ends, as a terminal's
	defer feed.Close()
	s.app.in = in
	got := s.run(t.Context(), "connect", path)
	g.Expect(got).To(Equal(result{0, "bye", ""}))
}

func TestConnectEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	path := filepath.Join(t.TempDir(), "s")
	reached := make(chan struct{})
	listen(t, path, func(conn *net.UnixConn) { close(reached); _, _ = io.Copy(io.Discard, conn) })
	in, feed := io.Pipe()
	defer feed.Close()
	s.app.in = in
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() { <-reached; cancel() }()
	g.Expect(s.run(ctx, "connect", path)).To(Equal(result{}), "ssh ends it by SIGHUP: no word of that")
}
