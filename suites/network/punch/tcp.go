package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tryTCP connects to the server and then to the peer from one local port, where it listens too.
func tryTCP(ctx context.Context, server, session string, limit time.Duration) (r result) {
	introduced, err := dialFrom(ctx, nil, server, meet)
	if err != nil {
		r.Err = err.Error()
		return r
	}
	defer introduced.Close() // Its work is done.
	local := introduced.LocalAddr().(*net.TCPAddr)
	listener, err := (&net.ListenConfig{Control: shared}).Listen(ctx, "tcp4", fmt.Sprintf(":%d", local.Port))
	if err != nil {
		r.Err = err.Error()
		return r
	}
	defer listener.Close() // Its work is done.
	var in introduction
	_ = introduced.SetDeadline(time.Now().Add(meet))
	err = json.NewEncoder(introduced).Encode(greeting{Session: session})
	if err == nil {
		err = json.NewDecoder(introduced).Decode(&in)
	}
	if err != nil {
		r.Err = fmt.Sprintf("meet the other side: %v", err)
		return r
	}
	r.Seen, r.Told = in.You, in.Peer
	r.From = connect(ctx, listener, in.Peer, session, limit)
	r.OK = r.From != ""
	return r
}

// shared lets several sockets use one local port.
func shared(_, _ string, c syscall.RawConn) error {
	var bad error
	err := c.Control(func(fd uintptr) {
		if bad = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); bad == nil {
			bad = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	})
	if err != nil {
		return err
	}
	return bad
}

func dialFrom(ctx context.Context, local net.Addr, to string, limit time.Duration) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: local, Control: shared, Timeout: limit}).DialContext(ctx, "tcp4", to)
}

// connect returns where the other side answered from over a connection that either side opened, or "".
func connect(ctx context.Context, listener net.Listener, peer, session string, limit time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found := make(chan string, 1)
	var wg sync.WaitGroup
	greet := func(conn net.Conn) {
		defer conn.Close() // Its work is done.
		if greets(ctx, conn, session) {
			select {
			case found <- conn.RemoteAddr().String():
			default:
			}
			<-ctx.Done() // So that the other side has its answer before the end.
		}
	}
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { greet(conn) })
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			conn, err := dialFrom(ctx, listener.Addr(), peer, limit)
			if err == nil {
				greet(conn)
			}
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
	})
	var from string
	select {
	case from = <-found:
		select {
		case <-ctx.Done():
		case <-time.After(linger):
		}
	case <-ctx.Done():
	}
	cancel()
	_ = listener.Close()
	wg.Wait()
	return from
}

// greets tells whether the other end of a connection belongs to the session.
func greets(ctx context.Context, conn net.Conn, session string) bool {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := fmt.Fprintln(conn, session); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == session+"\n"
}
