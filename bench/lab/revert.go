package main

import (
	"context"
	"errors"

	"ionlab/internal/lab"
)

// duo is the same machine both ways, running.
type duo struct {
	lab   *lab.Lab
	twins *twins
	plain *plain
}

// startDuo starts a lab of one node and its twin.
func (b *bench) startDuo(ctx context.Context) (*duo, error) {
	file, err := b.prepare(ctx, 1)
	if err != nil {
		return nil, err
	}
	d := &duo{plain: b.plain}
	if d.twins, err = b.twinsOf(ctx, file); err != nil {
		return nil, err
	}
	if d.lab, err = b.start(ctx, file, false); err == nil {
		err = b.plain.do(ctx, "restore", d.twins.machines...)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close(ctx))
	}
	return d, nil
}

// Close ends both machines.
func (d *duo) Close(ctx context.Context) error {
	var errs []error
	if d.lab != nil {
		errs = append(errs, d.lab.Close())
	}
	_ = d.plain.do(ctx, "destroy", d.twins.machines...) // one that was never restored is not there
	return errors.Join(append(errs, d.twins.Close())...)
}

// revert measures the way back to a snapshot, to the result of a first command.
func (b *bench) revert(ctx context.Context) (err error) {
	d, err := b.startDuo(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close(ctx)) }()
	if err := d.lab.Snapshot(ctx); err != nil {
		return err
	}
	// While one is measured, the other must not use the processors: the lab's node is paused, the twin is gone.
	if err := b.plain.do(ctx, "destroy", d.twins.machines...); err != nil {
		return err
	}
	ours := func(ctx context.Context) (cost, error) {
		spent, err := timed(func(ctx context.Context) error {
			if err := d.lab.Revert(ctx); err != nil {
				return err
			}
			return onEach(ctx, d.lab, "true")
		})(ctx)
		return spent, errors.Join(err, d.lab.Nodes()[0].Pause(ctx))
	}
	by := plainWay{
		row: row{Name: "revert, 1 machine", Unit: "s", Aim: 1.15, Plain: "virsh destroy, qemu-img create, virsh restore, ssh"},
		do: func(ctx context.Context) (cost, error) {
			if err := b.plain.do(ctx, "restore", d.twins.machines...); err != nil {
				return cost{}, err
			}
			spent, err := timed(func(ctx context.Context) error { return b.plain.do(ctx, "revert", d.twins.machines...) })(ctx)
			return spent, errors.Join(err, b.plain.do(ctx, "destroy", d.twins.machines...))
		},
	}
	_, err = b.run(ctx, contest{ours, []plainWay{by}}, b.times(6))
	return err
}
