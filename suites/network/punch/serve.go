package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
)

// register knows who takes part in which session: the addresses in the order of their coming.
type register struct {
	mu    sync.Mutex
	sides map[string][]string
	full  map[string]chan struct{} // closed when both sides are there
}

// add notes a side and returns a channel that is closed when both are there.
func (r *register) add(session, addr string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full[session] == nil {
		r.full[session] = make(chan struct{})
	}
	sides := r.sides[session]
	for _, known := range sides {
		if known == addr {
			return r.full[session]
		}
	}
	if sides = append(sides, addr); len(sides) == 2 {
		close(r.full[session])
	}
	r.sides[session] = sides
	return r.full[session]
}

// peer is the other side, or empty.
func (r *register) peer(session, addr string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.sides[session] {
		if other != addr {
			return other
		}
	}
	return ""
}

// serve introduces sides to each other until ctx ends.
func serve(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	packets, err := lc.ListenPacket(ctx, "udp4", addr)
	if err != nil {
		return err
	}
	streams, err := lc.Listen(ctx, "tcp4", addr)
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	context.AfterFunc(ctx, func() { _, _ = packets.Close(), streams.Close() })
	r := &register{sides: map[string][]string{}, full: map[string]chan struct{}{}}
	var wg sync.WaitGroup
	wg.Go(func() { r.packets(packets) })
	for {
		conn, err := streams.Accept()
		if err != nil {
			wg.Wait()
			if ctx.Err() != nil {
				err = nil // That is what has ended it.
			}
			return err
		}
		wg.Go(func() { r.stream(ctx, conn) })
	}
}

func (r *register) packets(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var g greeting
		if json.Unmarshal(buf[:n], &g) != nil {
			continue
		}
		session := "udp " + g.Session
		r.add(session, from.String())
		answer, _ := json.Marshal(introduction{You: from.String(), Peer: r.peer(session, from.String())})
		_, _ = conn.WriteTo(answer, from)
	}
}

// stream answers when both sides are there, and keeps the connection: its mapping has to stay.
func (r *register) stream(ctx context.Context, conn net.Conn) {
	defer conn.Close() // Nothing was promised.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	decoder := json.NewDecoder(conn)
	var g greeting
	if decoder.Decode(&g) != nil {
		return
	}
	session, me := "tcp "+g.Session, conn.RemoteAddr().String()
	select {
	case <-r.add(session, me):
	case <-ctx.Done():
		return
	}
	if json.NewEncoder(conn).Encode(introduction{You: me, Peer: r.peer(session, me)}) == nil {
		_ = decoder.Decode(&g) // Until the other side closes.
	}
}
