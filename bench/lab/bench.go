package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ionlab/internal/host"
	"ionlab/internal/lab"
	"ionlab/internal/topology"
)

// bench is what all parts share.
type bench struct {
	options
	dirs    lab.Dirs
	log     *slog.Logger
	account *lab.Account
	work    string // a short path that the user who runs QEMU can enter
	plain   *plain
	report  *report
	stderr  io.Writer
	warmth  *row // of the warm starts of one machine, when they were measured
}

// part is one chapter of the report.
type part struct {
	name    string
	measure func(*bench, context.Context) error
}

func parts() []part {
	return []part{
		{"warm", (*bench).warm},
		{"revert", (*bench).revert},
		{"exec", (*bench).exec},
		{"copy", (*bench).copies},
		{"cold", (*bench).coldStarts},
	}
}

func partNames() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

func open(ctx context.Context, o options, stderr io.Writer) (*bench, error) {
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return nil, err
	}
	account, err := lab.QEMUAccount()
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "lb")
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		log = slog.New(slog.NewTextHandler(stderr, nil))
	}
	b := &bench{options: o, dirs: dirs, log: log, account: account, work: work, stderr: stderr}
	b.report = &report{Commit: commit(ctx), Began: time.Now(), Processors: runtime.NumCPU(), LoadBefore: load(), Accelerator: "not used"}
	if err := os.Chmod(work, 0o711); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.plain, err = openPlain(ctx, work, dirs, account, log)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close ends the plain way's machines and removes all files.
func (b *bench) Close() error {
	b.report.Took, b.report.LoadAfter = time.Since(b.report.Began), load()
	return errors.Join(b.plain.Close(), os.RemoveAll(b.work))
}

func (b *bench) measure(ctx context.Context) error {
	for _, p := range parts() {
		if !slices.Contains(b.parts, p.name) {
			continue
		}
		if err := p.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// times is how often something is measured: as asked for, or so often.
func (b *bench) times(usual int) int {
	if b.rounds > 0 {
		return b.rounds
	}
	return usual
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// memoryMB is what each machine has.
const memoryMB = 512

// topologyFile writes the topology of a lab of so many machines.
func (b *bench) topologyFile(nodes int) (string, error) {
	path := filepath.Join(b.work, fmt.Sprintf("bench-%d.yaml", nodes))
	text := fmt.Sprintf("metadata: {name: bench-%d}\nnodes:\n", nodes)
	for i := range nodes {
		text += fmt.Sprintf("  - {name: node-%d, memory_mb: %d}\n", i+1, memoryMB)
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// start does what labtest.Start does.
func (b *bench) start(ctx context.Context, file string, cold bool) (*lab.Lab, error) {
	topo, err := topology.Load(file)
	if err != nil {
		return nil, err
	}
	machine, err := host.New(b.dirs, b.log)
	if err != nil {
		return nil, err
	}
	l, err := lab.New(lab.Config{Topology: topo, Dirs: b.dirs, Log: b.log, Host: machine, Owner: "bench/lab", ColdStart: cold})
	if err != nil {
		return nil, err
	}
	if err := l.Start(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	b.report.Accelerator = l.Accelerator()
	return l, nil
}

// commit names what was measured.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
