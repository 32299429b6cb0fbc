package main

import (
	"context"
	"errors"

	"ionlab/internal/guest"
)

// exec measures a command that does nothing, on a connection that is open.
func (b *bench) exec(ctx context.Context) (err error) {
	d, err := b.startDuo(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close(ctx)) }()
	client, err := d.lab.Nodes()[0].Guest()
	if err != nil {
		return err
	}
	twin := d.twins.machines[0]
	if err := b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "-M", "-N", "-f", "guest")...); err != nil {
		return err
	}
	// What the first ones read from the guest's disk is not what is measured.
	for range 3 {
		err := errors.Join(succeed(ctx, client, "true"), b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "guest", "true")...))
		if err != nil {
			return err
		}
	}
	for _, p := range []struct {
		name, aside string
		aim         float64
		ours        guest.Cmd
		plain       string
	}{
		{"exec of true on an open connection", "ssh by a ControlMaster, which runs the login shell's own true", 1.05, guest.Cmd{Argv: []string{"true"}}, "true"},
		{"the same, by a shell", "ssh by a ControlMaster", 0, guest.Cmd{Shell: "/bin/true; true"}, "bash -c '/bin/true; true'"},
	} {
		_, err := b.run(ctx, pair{
			row: row{Name: p.name, Unit: "ms", Aim: p.aim, Plain: p.aside},
			ours: milliseconds(func(ctx context.Context) error {
				res, err := client.Run(ctx, p.ours)
				if err == nil && res.ExitCode() != 0 {
					err = errors.New(res.Stderr())
				}
				return err
			}),
			plain: milliseconds(func(ctx context.Context) error {
				return b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "guest", p.plain)...)
			}),
		}, b.times(60))
		if err != nil {
			return err
		}
	}
	return b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "-O", "exit", "guest")...)
}

func milliseconds(do func(context.Context) error) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		took, err := timed(do)(ctx)
		return took * 1e3, err
	}
}
