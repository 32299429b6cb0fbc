package main

import (
	"context"
	"errors"
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
	ours := milliseconds(func(ctx context.Context) error { return succeed(ctx, client, "true") })
	by := func(command, how string, aim float64) plainWay {
		return plainWay{
			row: row{Name: "exec of true on an open connection, beside " + command, Unit: "ms", Aim: aim, Plain: how},
			do: milliseconds(func(ctx context.Context) error {
				return b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "guest", command)...)
			}),
		}
	}
	_, err = b.run(ctx, contest{ours, []plainWay{
		by("true", "ssh by a ControlMaster; the login shell's own true", 1.05),
		by("/bin/true", "ssh by a ControlMaster; the program, as ionlab runs it", 0),
	}}, b.times(40))
	if err != nil {
		return err
	}
	return b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "-O", "exit", "guest")...)
}
