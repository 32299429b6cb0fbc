package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ionlab/internal/guest"
	"ionlab/internal/lab"
)

// aims of the ratios, by the number of machines.
func warmAim(nodes int) float64 {
	switch nodes {
	case 1:
		return 1.15
	case 4:
		return 1.25
	}
	return 0
}

// coldToWarm is how many times faster a warm start has to be than a cold one.
const coldToWarm = 15

// warm measures labs of several sizes, from nothing to the result of a first command on every node.
func (b *bench) warm(ctx context.Context) error {
	for _, nodes := range b.nodes {
		if err := b.warmOf(ctx, nodes); err != nil {
			return fmt.Errorf("%d nodes: %w", nodes, err)
		}
	}
	return nil
}

func (b *bench) warmOf(ctx context.Context, nodes int) (err error) {
	file, err := b.prepare(ctx, nodes)
	if err != nil {
		return err
	}
	t, err := b.twinsOf(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	f, parts := &footprints{}, &stages{}
	by := plainWay{
		row: row{
			Name: fmt.Sprintf("warm start, %s", machines(nodes)), Unit: "s", Aim: warmAim(nodes),
			Plain: "qemu-img create, virsh restore, ssh; all machines at once; libvirtd runs already",
		},
		do: func(ctx context.Context) (cost, error) {
			spent, err := timed(func(ctx context.Context) error { return b.plain.do(ctx, "restore", t.machines...) })(ctx)
			if err != nil {
				return spent, err
			}
			return spent, errors.Join(f.plain(t.machines), b.plain.do(ctx, "destroy", t.machines...))
		},
	}
	ours := func(ctx context.Context) (cost, error) { return b.warmStart(ctx, file, nodes, f, parts) }
	rows, err := b.run(ctx, contest{ours, []plainWay{by}}, b.times(max(3, 6-nodes/2)))
	b.report.Rows = append(b.report.Rows, parts.rows(nodes)...)
	b.report.Rows = append(b.report.Rows, f.rows(nodes)...)
	if nodes == 1 {
		b.warmth = rows[0]
	}
	return err
}

// warmStart starts a lab and measures it until a command was run on every node.
func (b *bench) warmStart(ctx context.Context, file string, nodes int, f *footprints, parts *stages) (cost, error) {
	watch := startWatch()
	l, err := b.start(ctx, file, false)
	if err != nil {
		return cost{}, err
	}
	up := time.Now()
	err = onEach(ctx, l, "true")
	command, spent := time.Since(up), watch.read()
	parts.add(l, up.Sub(watch.began), command)
	if err == nil && !strings.HasPrefix(l.Beginning(), "warm start") {
		err = errors.New(l.Beginning())
	}
	if err == nil {
		err = f.ours(l, nodes)
	}
	return spent, errors.Join(err, l.Close())
}

// prepare makes the topology of so many nodes, and has a lab of it leave a snapshot unless there is one.
func (b *bench) prepare(ctx context.Context, nodes int) (string, error) {
	file, err := b.topologyFile(nodes)
	if err != nil {
		return "", err
	}
	l, err := b.start(ctx, file, false)
	if err != nil {
		return "", err
	}
	b.say("%s: %s", machines(nodes), l.Beginning())
	return file, l.Close()
}

// onEach runs a command on every node at once, and wants success.
func onEach(ctx context.Context, l *lab.Lab, argv ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range l.Nodes() {
		group.Go(func() error {
			client, err := node.Guest()
			if err != nil {
				return err
			}
			return succeed(ctx, client, argv...)
		})
	}
	return group.Wait()
}

func succeed(ctx context.Context, client *guest.Client, argv ...string) error {
	res, err := client.Run(ctx, guest.Cmd{Argv: argv})
	if err == nil && res.ExitCode() != 0 {
		err = fmt.Errorf("%q: exit status %d: %s", argv, res.ExitCode(), res.Stderr())
	}
	return err
}

func machines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}
