// Command lab measures what labs cost beside the plain way, which is a shell script with qemu-img, virsh, QEMU and OpenSSH
// (plain.sh), in the same run and in turn: cold start, warm start, revert, commands, copies, memory and disk.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/lab:", err)
		os.Exit(1)
	}
}

// options are what the command line chooses.
type options struct {
	out     string
	parts   []string
	rounds  int // 0: each part's own
	nodes   []int
	strict  bool
	limit   time.Duration
	copyMB  int
	files   int
	verbose bool
}

func parse(args []string) (options, error) {
	var o options
	var parts, nodes string
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.StringVar(&o.out, "out", "", "folder for lab.json and lab.md; empty writes none")
	flags.StringVar(&parts, "parts", strings.Join(partNames(), ","), "what to measure")
	flags.StringVar(&nodes, "nodes", "1,2,4,8", "sizes of the labs whose warm start is measured; the first is that of reverts")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds of every measurement; 0 for as many as each needs")
	flags.BoolVar(&o.strict, "strict", false, "fail when an aim is not met")
	flags.DurationVar(&o.limit, "limit", 40*time.Minute, "for all together")
	flags.IntVar(&o.copyMB, "copy-mb", 256, "size of the large file")
	flags.IntVar(&o.files, "files", 1000, "number of small files")
	flags.BoolVar(&o.verbose, "v", false, "tell what the labs do")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.parts = strings.Split(parts, ",")
	for _, part := range o.parts {
		if !slices.Contains(partNames(), part) {
			return o, fmt.Errorf("-parts: there is no %q; there are %s", part, strings.Join(partNames(), ", "))
		}
	}
	for text := range strings.SplitSeq(nodes, ",") {
		var n int
		if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 1 {
			return o, fmt.Errorf("-nodes: %q is no number of machines", text)
		}
		o.nodes = append(o.nodes, n)
	}
	return o, nil
}

func run(ctx context.Context, stdout, stderr io.Writer, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("it took longer than -limit %s", o.limit))
	defer cancel()
	b, err := open(ctx, o, stderr)
	if err != nil {
		return err
	}
	failure := b.measure(ctx)
	if err := b.Close(); err != nil && failure == nil {
		failure = err
	}
	// What was measured before a failure counts.
	if err := b.report.markdown(stdout); err != nil {
		return err
	}
	if o.out != "" {
		if err := b.report.save(filepath.Clean(o.out)); err != nil {
			return err
		}
	}
	if unmet := b.report.unmet(); failure == nil && o.strict && len(unmet) > 0 {
		return fmt.Errorf("%d aims are not met, the first is of %q", len(unmet), unmet[0].Name)
	}
	return failure
}
