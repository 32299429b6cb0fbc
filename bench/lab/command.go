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
	for _, command := range []struct{ name, how string }{
		{"true", "ssh by a ControlMaster; the login shell's own true, as with ionlab"},
		{"/bin/true", "ssh by a ControlMaster; the program, as with ionlab"},
	} {
		_, err := b.run(ctx, contest{
			milliseconds(func(ctx context.Context) error { return succeed(ctx, client, command.name) }),
			[]plainWay{{
				row: row{Name: "exec of " + command.name + " on an open connection", Unit: "ms", Aim: 1.05, Plain: command.how},
				do: milliseconds(func(ctx context.Context) error {
					return b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "guest", command.name)...)
				}),
			}},
		}, b.times(40))
		if err != nil {
			return err
		}
	}
	return b.plain.command(ctx, "ssh", append(twin.ssh("ssh")[1:], "-O", "exit", "guest")...)
}
