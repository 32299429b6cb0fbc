package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cost is what something took: time, and the processors' time of this process and all below it, in the row's unit. On a busy
// host the second says more: what others do does not count in it.
type cost struct{ took, work float64 }

// stopwatch measures a cost.
type stopwatch struct {
	began time.Time
	work  float64
}

func startWatch() stopwatch { return stopwatch{work: familyWork(), began: time.Now()} }

// read is the cost so far, in seconds.
func (s stopwatch) read() cost {
	took := time.Since(s.began).Seconds()
	return cost{took: took, work: familyWork() - s.work}
}

// timed measures seconds.
func timed(do func(context.Context) error) func(context.Context) (cost, error) {
	return after(func(context.Context) error { return nil }, do)
}

// after measures the second of two things.
func after(first, second func(context.Context) error) func(context.Context) (cost, error) {
	return func(ctx context.Context) (cost, error) {
		if err := first(ctx); err != nil {
			return cost{}, err
		}
		watch := startWatch()
		err := second(ctx)
		return watch.read(), err
	}
}

func milliseconds(do func(context.Context) error) func(context.Context) (cost, error) {
	return func(ctx context.Context) (cost, error) {
		c, err := timed(do)(ctx)
		return cost{c.took * 1e3, c.work * 1e3}, err
	}
}

// ticksPerSecond is USER_HZ, which is 100 on x86 whatever the kernel's own clock (time(7)).
const ticksPerSecond = 100

// process is what proc(5)'s stat says of one.
type process struct {
	parent string
	ticks  int // its own, and those of children that it has waited for
}

// familyWork is the processor time, in seconds, that this process and all below it have used until now. Whoever ends hands
// what he used to the parent that waits for him, so it only grows.
func familyWork() float64 {
	all := map[string]process{}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		if p, err := readProcess(path); err == nil {
			all[filepath.Base(filepath.Dir(path))] = p
		}
	}
	self, sum := strconv.Itoa(os.Getpid()), 0
	for pid, p := range all {
		up := pid
		for up != self && all[up].parent != "" {
			up = all[up].parent
		}
		if up == self {
			sum += p.ticks
		}
	}
	return float64(sum) / ticksPerSecond
}

// readProcess reads a stat file: the name in parentheses may hold anything, so what counts is what follows the last one.
func readProcess(path string) (process, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return process{}, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	if len(fields) < 15 {
		return process{}, fmt.Errorf("%s: %q", path, text)
	}
	p := process{parent: fields[1]}
	for _, field := range fields[11:15] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return p, fmt.Errorf("%s: %w", path, err)
		}
		p.ticks += ticks
	}
	return p, nil
}
