// Command fabric measures the lab's networks with unix sockets at both ends, as QEMU connects them: throughput through a
// plain and an impaired link, added latency, allocations, and the switch of gvisor-tap-vsock in the same run. It is a module
// of its own, so that nothing that only it needs becomes a dependency of ionlab.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/fabric:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer, args []string) error {
	flags := flag.NewFlagSet("fabric", flag.ContinueOnError)
	out := flags.String("out", "", "folder for fabric.json and fabric.md; empty writes none")
	frames := flags.Int("frames", 2_000_000, "frames per measurement of throughput")
	pings := flags.Int("pings", 30_000, "frames per measurement of latency")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := measure(ctx, *frames, *pings)
	if err != nil {
		return err
	}
	if err := r.markdown(stdout); err != nil || *out == "" {
		return err
	}
	return r.save(filepath.Clean(*out))
}
