package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ionlab/internal/snapshot"
)

// SetUp is done to a lab once its nodes are ready. What it leaves in the machines is saved as a snapshot of its own, on top of
// which nothing else is needed: a later start with the same SetUp, and the same deployed files, restores that and does nothing.
type SetUp struct {
	Do func(ctx context.Context) error
	// Files are the files and folders of the host, and Key is whatever else, on which the result of Do depends.
	Files []string
	Key   string
}

// SetUpError says that a lab came up, and could not be set up.
type SetUpError struct {
	Lab string // its topology's name
	Err error
}

func (e *SetUpError) Error() string { return fmt.Sprintf("set up lab %q: %v", e.Lab, e.Err) }

// Unwrap gives the cause.
func (e *SetUpError) Unwrap() error { return e.Err }

// SetUpInput is the name of what a snapshot was set up with among its inputs; those of bare machines have none.
const SetUpInput = "set-up"

// setUpInputs adds what the machines' state depends on after deploy and SetUp.
func (l *Lab) setUpInputs(in snapshot.Inputs) error {
	parts := []string{l.cfg.SetUp.Key}
	for _, path := range l.cfg.SetUp.Files {
		sum, err := contentDigest(path)
		if err != nil {
			return fmt.Errorf("start lab %q: what its set-up depends on: %w", l.topo.Metadata.Name, err)
		}
		parts = append(parts, filepath.Base(path)+" "+sum)
	}
	in[SetUpInput] = strings.Join(parts, "\n")
	in["set up in"] = l.topo.Digest // what the guests have found out of each other depends on the networks, too
	for _, node := range l.nodes {
		for _, entry := range node.spec.Deploy {
			sum, err := contentDigest(entry.Src)
			if err != nil {
				return fmt.Errorf("node %q: deploy %s: %w", node.Name(), entry.Src, err)
			}
			in["deploy to "+node.Name()] += fmt.Sprintf("%s %#o %s %s\n", entry.Dest, entry.Mode, entry.Owner, sum)
		}
	}
	return nil
}

// setUp does what is to be done before the lab is used, unless it began from what that has left.
func (l *Lab) setUp(ctx context.Context) error {
	if l.cfg.SetUp == nil || l.warmth.isFurnished() {
		return nil
	}
	began := time.Now()
	if err := l.doSetUp(ctx); err != nil {
		return err
	}
	l.note(fmt.Sprintf("; set up in %s", time.Since(began).Round(100*time.Millisecond)))
	if l.warmth.furnished.draft == nil {
		return nil
	}
	return l.keepSetUp(ctx)
}

func (l *Lab) doSetUp(ctx context.Context) error {
	l.tell(Event{Stage: "setting up"})
	before, err := l.conditions()
	if err != nil {
		return err
	}
	if err := l.cfg.SetUp.Do(ctx); err != nil {
		return &SetUpError{Lab: l.topo.Metadata.Name, Err: err}
	}
	after, err := l.conditions()
	if err != nil {
		return err
	}
	for _, now := range after {
		if !slices.Contains(before, now) {
			err := fmt.Errorf("it leaves %s: a snapshot has the machines only; do that after Start, or in the topology", now)
			return &SetUpError{Lab: l.topo.Metadata.Name, Err: err}
		}
	}
	return nil
}

// conditions are those of links, routers and partitions, in words.
func (l *Lab) conditions() ([]string, error) {
	state, err := l.NetState()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, link := range state.Links {
		all = append(all, fmt.Sprintf("link %s@%s up: %t, %s, %s", link.Owner, link.Network, link.Up, link.Egress, link.Ingress))
	}
	for _, router := range state.Routers {
		all = append(all, fmt.Sprintf("router %s as %s, firewall: %s", router.Name, router.NAT, router.Firewall))
	}
	return append(all, fmt.Sprintf("partitions: %v", state.Cuts)), nil
}

// keepSetUp saves the lab as it is now, and goes on from that: so what the first start gives is what later ones give. Where
// it cannot be saved the lab is set up once more, and nothing is kept.
func (l *Lab) keepSetUp(ctx context.Context) error {
	w := &l.warmth
	err := l.readyToFreeze(ctx)
	if err != nil && !l.isOver(ctx) {
		l.tell(Event{Stage: "no snapshot", Note: err.Error()})
		err = w.furnished.draft.Close()
		w.furnished.draft = nil
		l.allReady()
		return err
	}
	if err == nil {
		err = l.freeze(ctx, &w.furnished, "set up already")
	}
	if err == nil {
		l.allReady()
		return nil
	}
	if l.isOver(ctx) {
		return err
	}
	why := "no snapshot could be made of what was set up: " + err.Error()
	l.refuse(&w.furnished, why)
	if err := l.startOver(ctx, why, &w.furnished); err != nil {
		return err
	}
	if err := l.bringBare(ctx); err != nil {
		return err
	}
	return l.doSetUp(ctx)
}

// bringBare brings the machines of a lab up again that was set up, or began as one.
func (l *Lab) bringBare(ctx context.Context) error {
	if err := errors.Join(l.lookForBare(ctx), l.writeSSHConfig()); err != nil {
		return err
	}
	return l.bring(ctx)
}

// isOver tells whether an error is for the end of the start.
func (l *Lab) isOver(ctx context.Context) bool { return ctx.Err() != nil || l.isClosed() }
