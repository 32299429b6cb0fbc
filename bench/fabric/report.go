package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"ionlab/internal/fabric/impair"
)

// report is what the benchmark found. Latencies are in microseconds.
type report struct {
	Frames     int       `json:"frame_bytes"`
	Processors int       `json:"processors"`
	Flows      []flowRow `json:"throughput"`
	Latencies  []waitRow `json:"latency"`
}

type flowRow struct {
	Name            string  `json:"name"`
	FramesPerSecond float64 `json:"frames_per_second"`
	AllocsPerFrame  float64 `json:"allocs_per_frame"`
	CPU             float64 `json:"cpu_ns_per_frame"`
	Lost            uint64  `json:"lost"`
	Target          string  `json:"target"`
}

type waitRow struct {
	Name   string  `json:"name"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	P999   float64 `json:"p99_9_us"`
	Added  float64 `json:"added_p50_us"`
	Target string  `json:"target"`
}

// rounds of each measurement are made in turn, so that what else the machine does meets all alike; the best
// of each counts.
const rounds = 3

// impairment is delay, loss and rate at once. What is under way at 300 000 frames per second fits into a guest's queue, so
// that a benchmark without a pace does not overrun it.
func impairment() impair.Impairment {
	return impair.Impairment{Delay: time.Millisecond, LossPercent: 1, RateBits: 10e9}
}

func measure(ctx context.Context, frames, pings int) (*report, error) {
	r := &report{Frames: frameSize, Processors: runtime.GOMAXPROCS(0)}
	systems := []struct {
		name, target string
		part         int // of the frames: a slow one need not take longer
		open         func() (*system, error)
	}{
		{"unimpaired link", "at least 1 M frames/s", 1, func() (*system, error) { return ours(impair.Impairment{}) }},
		{"impaired link: " + impairment().String(), "at least 300 k frames/s", 2, func() (*system, error) { return ours(impairment()) }},
		{"switch of gvisor-tap-vsock v0.8.6", "at most a fifth of the first", 8, func() (*system, error) { return theirs(ctx) }},
	}
	for _, s := range systems {
		r.Flows = append(r.Flows, flowRow{Name: s.name, Target: s.target})
	}
	for range rounds {
		for i, s := range systems {
			if err := r.flow(ctx, &r.Flows[i], s.open, frames/s.part); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return r, r.latency(pings)
}

func (r *report) flow(ctx context.Context, row *flowRow, open func() (*system, error), frames int) error {
	s, err := open()
	if err != nil {
		return err
	}
	f, err := throughput(ctx, s, frames, window)
	if err := errors.Join(err, s.close()); err != nil {
		return err
	}
	if f.framesPerSecond > row.FramesPerSecond {
		row.FramesPerSecond, row.AllocsPerFrame, row.CPU, row.Lost = f.framesPerSecond, f.allocsPerFrame, f.cpu, f.lost
	}
	return nil
}

const far = 10 * time.Millisecond

// latency measures a bare socket and links; the difference is what a link adds.
func (r *report) latency(pings int) error {
	rows := []struct {
		name, target string
		delay        time.Duration
		open         func() (*system, error)
	}{
		{"a unix socket alone", "", 0, wire},
		{"unimpaired link", "adds less than 50 µs", 0, func() (*system, error) { return ours(impair.Impairment{}) }},
		{"link with a delay of 10 ms, less those", "p99.9 under 1 ms", far, func() (*system, error) { return ours(impair.Impairment{Delay: far}) }},
	}
	r.Latencies = make([]waitRow, len(rows))
	for range rounds {
		for i, row := range rows {
			s, err := row.open()
			if err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
			took, err := latencies(s, pings)
			if err := errors.Join(err, s.close()); err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
			part := func(of int) float64 { return microseconds(took[len(took)*of/1000] - row.delay) }
			if best := &r.Latencies[i]; best.Name == "" || part(999) < best.P999 {
				*best = waitRow{Name: row.name, P50: part(500), P99: part(990), P999: part(999), Target: row.target}
			}
		}
	}
	for i := range r.Latencies {
		r.Latencies[i].Added = r.Latencies[i].P50 - r.Latencies[0].P50
	}
	return nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// markdown writes the tables.
func (r *report) markdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Frames of %d bytes, unix sockets at both ends, %d processors for everything; the best of %d rounds.\n\n", r.Frames, r.Processors, rounds)
	fmt.Fprintf(&b, "| throughput | frames/s | of the first | CPU ns per frame | allocations per frame | lost | target |\n|---|---:|---:|---:|---:|---:|---|\n")
	for _, row := range r.Flows {
		fmt.Fprintf(&b, "| %s | %.0f | %.2f | %.0f | %.4f | %d | %s |\n",
			row.Name, row.FramesPerSecond, row.FramesPerSecond/r.Flows[0].FramesPerSecond, row.CPU, row.AllocsPerFrame, row.Lost, row.Target)
	}
	fmt.Fprintf(&b, "\n| latency at 10 000 frames/s | p50 µs | p99 µs | p99.9 µs | added p50 µs | target |\n|---|---:|---:|---:|---:|---|\n")
	for _, row := range r.Latencies {
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.1f | %.1f | %s |\n", row.Name, row.P50, row.P99, row.P999, row.Added, row.Target)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// save writes fabric.json and fabric.md.
func (r *report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var table bytes.Buffer
	if err := r.markdown(&table); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "fabric.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "fabric.md"), table.Bytes(), 0o644),
	)
}
