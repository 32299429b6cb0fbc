package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ionlab/internal/topology"
)

func (a *app) validateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE...", Short: "Check topology files without starting anything",
		Long: `validate checks topology files as "labtest up" would, without starting anything: what they say, whether the sources
of deploy are there and built for the guest, whether the images are known, and whether this host could ever hold all
nodes. Every problem is printed with its file, line, column and YAML path.

What a topology may say but no lab can do yet is printed as "not supported yet". It does not make the file invalid, but
"labtest up" refuses to start it.

Exit status: 0 all files are valid, 2 one is not.`,
		Example: "  labtest validate topologies/*.yaml",
		Args:    wantsMore("FILE"), ValidArgsFunction: completeTopology,
		RunE: verb(func(_ context.Context, args []string) error { return a.validate(args) }),
	}
}

func (a *app) validate(files []string) error {
	_, machine, err := a.here()
	if err != nil {
		return err
	}
	host := topology.Host{Arch: runtime.GOARCH, MemoryMB: totalMemoryMB(), Images: machine.Images()}
	invalid := 0
	for _, file := range files {
		topo, err := check(file, host)
		if err != nil {
			invalid++
			fmt.Fprintln(a.err, err)
			continue
		}
		fmt.Fprintf(a.out, "%s: ok (%s)\n", file, counts(topo))
	}
	if invalid > 0 {
		return usage(fmt.Errorf("%d of %d topologies cannot be used", invalid, len(files)))
	}
	return nil
}

// check loads a topology and compares it with the host.
func check(file string, host topology.Host) (*topology.Topology, error) {
	topo, err := topology.Load(file)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(topo.CheckSources(), topo.CheckHost(host)); err != nil {
		return nil, err
	}
	return topo, nil
}

func counts(t *topology.Topology) string {
	text := plural(len(t.Nodes), "node") + ", " + plural(len(t.Networks), "network")
	if len(t.Routers) > 0 {
		text += ", " + plural(len(t.Routers), "router")
	}
	return text
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// totalMemoryMB is all memory of the host in MiB, 0 when unknown: how much of it is free matters only at a start.
func totalMemoryMB() int {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int(info.Totalram * uint64(info.Unit) >> 20) //nolint:gosec // no host has 2^63 MiB.
}
