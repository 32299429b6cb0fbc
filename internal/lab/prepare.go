package lab

import (
	"context"
	"fmt"
)

// PreparedAtOnce is how many labs are best prepared beside each other: while one is saved, or its image made, another boots.
const PreparedAtOnce = 2

// Prepare makes what a Start of the same topology would have to make first: images, and the snapshot from which labs
// start warm. The latter takes a cold start of the lab; where snapshots are off, or there is one, nothing is booted.
// It takes the place of Start: Close is due afterwards, also after an error.
func (l *Lab) Prepare(ctx context.Context) error {
	ctx, end, err := l.beginStart(ctx)
	if err != nil {
		return fmt.Errorf("prepare lab %q: %w", l.topo.Metadata.Name, err)
	}
	defer end()
	if err := l.preflight(ctx); err != nil {
		return err
	}
	if want, why, err := l.wantsWarm(); err != nil || !want {
		if err == nil {
			l.tell(Event{Stage: "no snapshot", Note: why})
			err = l.getImages(ctx)
		}
		return err
	}
	if err := l.settleIn(ctx); err != nil {
		return err
	}
	if err := l.inTurn(ctx, l.layout, l.provide, l.wire, l.lookForSnapshot); err != nil {
		return err
	}
	if l.warmth.bare.draft == nil { // there is one already, or none can be made, as was told
		return nil
	}
	return l.inTurn(ctx, l.admit, l.openDoors, l.boot)
}

// settleIn gives the lab its home.
func (l *Lab) settleIn(ctx context.Context) error {
	home, err := makeHome(ctx, l.cfg.Dirs)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.home = home
	return nil
}

// inTurn does one step after the other until one fails.
func (l *Lab) inTurn(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
