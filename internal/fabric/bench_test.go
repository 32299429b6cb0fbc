package fabric

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ionlab/internal/fabric/impair"
)

// BenchmarkLink sends frames of 1514 bytes from one guest to another, unix sockets at both ends. bench/fabric does so too,
// and through impairments and another switch.
func BenchmarkLink(b *testing.B) {
	f := newFabric(b, nil, lan(2))
	src, dst := connect(b, f, "a", "lan"), connect(b, f, "b", "lan")
	dst.send(ether(src.mac(), dst.mac(), testType, "learn me"))
	src.recv()
	one := onWire(ether(dst.mac(), src.mac(), testType, strings.Repeat("x", 1500)))
	const burst = 128
	block := []byte(strings.Repeat(string(one), burst))
	var got atomic.Int64
	var reading sync.WaitGroup
	reading.Go(func() {
		_ = dst.conn.SetReadDeadline(time.Time{})
		buf := make([]byte, 256<<10)
		for {
			n, err := dst.conn.Read(buf)
			got.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	ticker := time.NewTicker(20 * time.Microsecond)
	defer ticker.Stop()
	b.SetBytes(1514)
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += burst {
		n := min(burst, b.N-sent)
		for int64(sent-1000)*int64(len(one)) > got.Load() { // Within the receiver's queue.
			<-ticker.C
		}
		if _, err := src.conn.Write(block[:n*len(one)]); err != nil {
			b.Fatal(err)
		}
	}
	deadline := time.Now().Add(patience)
	for got.Load() < int64(b.N)*int64(len(one)) && time.Now().Before(deadline) {
		<-ticker.C
	}
	b.StopTimer()
	if lost := int64(b.N)*int64(len(one)) - got.Load(); lost != 0 {
		b.Errorf("%d bytes lost: %v", lost, dst.link.Counters())
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	_ = dst.conn.Close()
	reading.Wait()
}

// BenchmarkLatency sends 10 000 frames per second and tells how long they take from socket to socket.
func BenchmarkLatency(b *testing.B) {
	for name, c := range map[string]Conditions{
		"plain": {},
		"10ms":  {Egress: impair.Impairment{Delay: 10 * time.Millisecond}},
		"5+5ms": {Egress: impair.Impairment{Delay: 5 * time.Millisecond}, Ingress: impair.Impairment{Delay: 5 * time.Millisecond}},
	} {
		b.Run(name, func(b *testing.B) { benchmarkLatency(b, c) })
	}
}

func benchmarkLatency(b *testing.B, c Conditions) {
	network := lan(2)
	network.Hosts[0].Conditions.Egress = c.Egress
	network.Hosts[1].Conditions.Ingress = c.Ingress
	asked := c.Egress.Delay + c.Ingress.Delay
	f := newFabric(b, nil, network)
	src, dst := connect(b, f, "a", "lan"), connect(b, f, "b", "lan")
	dst.send(ether(src.mac(), dst.mac(), testType, "learn me"))
	src.recv()
	took := make([]time.Duration, 0, b.N)
	began := time.Now()
	var reading sync.WaitGroup
	reading.Go(func() {
		for range b.N {
			frame, err := dst.tryRecv(patience)
			if err != nil {
				return
			}
			took = append(took, time.Since(began)-time.Duration(binary.BigEndian.Uint64(frame[headerLen:]))-asked)
		}
	})
	frame := onWire(ether(dst.mac(), src.mac(), testType, strings.Repeat("x", 1500)))
	ticker := time.NewTicker(100 * time.Microsecond)
	defer ticker.Stop()
	for range b.N {
		<-ticker.C
		binary.BigEndian.PutUint64(frame[prefixLen+headerLen:], uint64(time.Since(began)))
		if _, err := src.conn.Write(frame); err != nil {
			b.Fatal(err)
		}
	}
	reading.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "us/p50")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "us/p99")
	b.ReportMetric(float64(took[len(took)*999/1000].Nanoseconds())/1e3, "us/p99.9")
}

// BenchmarkDial copies through a connection of Dial, to and from a guest's TCP/IP stack.
func BenchmarkDial(b *testing.B) {
	const chunk = 1 << 20
	for _, way := range []string{"upload", "download"} {
		b.Run(way, func(b *testing.B) {
			f := newFabric(b, nil, lan(1))
			ln := boot(b, f, "a", "lan").listen(b, 22)
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			defer cancel()
			near, err := f.Dial(ctx, "a", 22)
			if err != nil {
				b.Fatal(err)
			}
			far, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			from, to := near, far
			if way == "download" {
				from, to = far, near
			}
			var reading sync.WaitGroup
			b.SetBytes(chunk)
			b.ResetTimer()
			reading.Go(func() { _, _ = io.CopyN(io.Discard, struct{ io.Reader }{to}, int64(b.N)*chunk) })
			send(b, from, b.N, make([]byte, chunk))
			reading.Wait()
			b.StopTimer()
			_, _ = near.Close(), far.Close()
		})
	}
}

func send(b *testing.B, conn net.Conn, times int, data []byte) {
	for range times {
		if _, err := conn.Write(data); err != nil {
			b.Fatal(err)
		}
	}
}
