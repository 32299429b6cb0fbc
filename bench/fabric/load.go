package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	burst  = 128       // frames in one write
	window = 8 * burst // frames under way: what a guest's queue holds, with room to spare
)

// onWire is a frame behind its length, as QEMU sends it.
func onWire(dst, src net.HardwareAddr, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(size))
	b = append(append(b, dst...), src...)
	b = append(b, 0x88, 0xb5)
	return append(b, make([]byte, size-14)...)
}

// flow is what a measurement of throughput found.
type flow struct {
	framesPerSecond, allocsPerFrame float64
	cpu                             float64 // nanoseconds of the processors per frame, both guests included
	lost                            uint64
}

// throughput sends frames from the first port to the second as fast as they come out there, with at most ahead of them
// under way.
func throughput(ctx context.Context, s *system, frames, ahead int) (flow, error) {
	var got atomic.Uint64 // bytes
	var reading sync.WaitGroup
	reading.Go(func() { count(s.ports[1], &got) })
	warm := frames / 10
	if err := pump(ctx, s, &got, warm, ahead); err != nil {
		return flow{}, err
	}
	before, dropped := got.Load(), s.dropped()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	mallocs, used, began := m.Mallocs, cpuTime(), time.Now()
	err := pump(ctx, s, &got, frames, ahead)
	took := time.Since(began)
	used = cpuTime() - used
	runtime.ReadMemStats(&m)
	arrived := (got.Load() - before) / (frameSize + 4)
	result := flow{
		framesPerSecond: float64(arrived) / took.Seconds(),
		allocsPerFrame:  float64(m.Mallocs-mallocs) / float64(arrived),
		cpu:             float64(used) / float64(arrived),
		lost:            s.dropped() - dropped,
	}
	err = errors.Join(err, s.ports[1].SetReadDeadline(time.Now()))
	reading.Wait()
	return result, err
}

// cpuTime is what the process has used of the processors.
func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // It fails for an unknown first argument only.
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// count adds up what comes until the connection's deadline.
func count(conn net.Conn, got *atomic.Uint64) {
	buf := make([]byte, 256<<10)
	for {
		n, err := conn.Read(buf)
		got.Add(uint64(n))
		if err != nil {
			return
		}
	}
}

// pump sends frames and waits until all have come or been dropped.
func pump(ctx context.Context, s *system, got *atomic.Uint64, frames, ahead int) error {
	block := bytes.Repeat(onWire(macs[1], macs[0], frameSize), burst)
	one := uint64(len(block) / burst)
	start, gone := got.Load()/one, s.dropped()
	lost := uint64(0)
	ticker := time.NewTicker(20 * time.Microsecond)
	defer ticker.Stop()
	lastLook, lastProgress, seen := time.Now(), time.Now(), uint64(0)
	waitFor := func(arrived uint64) error {
		for got.Load()/one-start+lost < arrived {
			<-ticker.C
			if now := time.Now(); now.Sub(lastLook) > 10*time.Millisecond { // Seldom, for it allocates.
				lastLook, lost = now, s.dropped()-gone
				if sum := got.Load()/one + lost; sum != seen {
					lastProgress, seen = now, sum
				} else if now.Sub(lastProgress) > 10*time.Second || ctx.Err() != nil {
					return errors.Join(fmt.Errorf("only %d frames have come of %d", got.Load()/one-start, arrived), ctx.Err())
				}
			}
		}
		return nil
	}
	for sent := 0; sent < frames; sent += burst {
		if sent > ahead {
			if err := waitFor(uint64(sent - ahead)); err != nil {
				return err
			}
		}
		if _, err := s.ports[0].Write(block); err != nil {
			return err
		}
	}
	return waitFor(uint64((frames + burst - 1) / burst * burst))
}

// latencies sends frames at 10 000 per second and returns how long each took from socket to socket, in order of length.
func latencies(s *system, frames int) ([]time.Duration, error) {
	const every = 100 * time.Microsecond
	took := make([]time.Duration, 0, frames)
	began := time.Now()
	var failed error
	var reading sync.WaitGroup
	reading.Go(func() {
		in := make([]byte, frameSize+4)
		_ = s.ports[1].SetReadDeadline(time.Now().Add(time.Duration(frames)*every*10 + 10*time.Second))
		for range frames {
			if _, failed = io.ReadFull(s.ports[1], in); failed != nil {
				return
			}
			took = append(took, time.Since(began)-time.Duration(binary.BigEndian.Uint64(in[18:])))
		}
	})
	frame := onWire(macs[1], macs[0], frameSize)
	runtime.LockOSThread() // This goroutine sleeps by the thread: the runtime's timers are not as fine.
	defer runtime.UnlockOSThread()
	for n := range frames {
		if wait := time.Duration(n)*every - time.Since(began); wait > 0 {
			ts := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&ts, nil)
		}
		binary.BigEndian.PutUint64(frame[18:], uint64(time.Since(began)))
		if _, err := s.ports[0].Write(frame); err != nil {
			return nil, err
		}
	}
	reading.Wait()
	slices.Sort(took)
	return took, failed
}
