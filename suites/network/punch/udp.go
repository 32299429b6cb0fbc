package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"
)

// tryUDP sends from one socket to the server and then to the peer, and answers whoever greets with the session's name.
func tryUDP(ctx context.Context, server, session string, limit time.Duration) (r result) {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp4", ":0")
	if err != nil {
		r.Err = err.Error()
		return r
	}
	defer conn.Close() // Its work is done.
	if err := r.introduce(conn, server, session); err != nil {
		r.Err = err.Error()
		return r
	}
	if err := r.punch(conn, session, time.Now().Add(limit)); err != nil {
		r.Err = err.Error()
	}
	return r
}

// introduce asks the server until it knows the other side.
func (r *result) introduce(conn net.PacketConn, server, session string) error {
	to, err := net.ResolveUDPAddr("udp4", server)
	if err != nil {
		return err
	}
	for until := time.Now().Add(meet); time.Now().Before(until); {
		if err := say(conn, to, greeting{Session: session}); err != nil {
			return err
		}
		var in introduction
		if _, ok := hear(conn, &in); ok && in.You != "" {
			r.Seen, r.Told = in.You, in.Peer
		}
		if r.Told != "" {
			return nil
		}
	}
	return errors.New("the other side did not come to the server")
}

// punch greets the peer until it has heard an answer, and answers for some time longer.
func (r *result) punch(conn net.PacketConn, session string, until time.Time) error {
	told, err := net.ResolveUDPAddr("udp4", r.Told)
	if err != nil {
		return err
	}
	var peer net.Addr = told
	for time.Now().Before(until) {
		if err := say(conn, peer, greeting{Session: session, Answer: r.From != ""}); err != nil {
			return err
		}
		var g greeting
		from, ok := hear(conn, &g)
		if !ok || g.Session != session {
			continue
		}
		peer, r.From = from, from.String()
		if g.Answer && !r.OK {
			r.OK = true
			until = time.Now().Add(linger)
		}
	}
	return nil
}

func say(conn net.PacketConn, to net.Addr, g greeting) error {
	data, err := json.Marshal(g)
	if err != nil {
		return err
	}
	// A port unreachable from before is reported here: that is no reason to give up.
	_, _ = conn.WriteTo(data, to)
	return nil
}

// hear waits a moment for a packet.
func hear(conn net.PacketConn, into any) (net.Addr, bool) {
	_ = conn.SetReadDeadline(time.Now().Add(every))
	buf := make([]byte, 1500)
	n, from, err := conn.ReadFrom(buf)
	if err != nil {
		return nil, false
	}
	return from, json.Unmarshal(buf[:n], into) == nil
}
