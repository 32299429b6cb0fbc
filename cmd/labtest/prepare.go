package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ionlab/internal/lab"
	"ionlab/internal/topology"
)

func (a *app) prepareCmd() *cobra.Command {
	var artifacts string
	cmd := &cobra.Command{
		Use: "prepare FILE...", Short: "Make the images and snapshots that labs start from",
		Long: `prepare makes what labs of these topologies need, so that their first start is warm: images, and snapshots. A snapshot
that is missing takes a cold start of its lab, which is ended again, two labs at a time. What is there already costs
nothing. With LABTEST_WARM=off only images are made.

Exit status: 0 all is there, 1 something could not be made, 2 a topology is wrong.`,
		Example: "  labtest prepare topologies/quickstart.yaml topologies/portal.yaml",
		Args:    wantsMore("FILE"), ValidArgsFunction: completeTopology,
		RunE: verb(func(ctx context.Context, args []string) error { return a.prepare(ctx, args, artifacts) }),
	}
	cmd.Flags().StringVar(&artifacts, "artifacts", os.Getenv("LABTEST_ARTIFACTS"),
		"folder for evidence when a lab does not come up (LABTEST_ARTIFACTS)")
	return cmd
}

func (a *app) prepare(ctx context.Context, files []string, artifacts string) error {
	var wrong []error
	topos := make([]*topology.Topology, len(files))
	for i, file := range files {
		var err error
		topos[i], err = topology.Load(file)
		wrong = append(wrong, err)
	}
	if err := errors.Join(wrong...); err != nil {
		return usage(err)
	}
	dirs, machine, err := a.here()
	if err != nil {
		return err
	}
	shown := a.newProgress(ctx)
	defer func() { _ = shown.Close() }()
	var group errgroup.Group // one that fails does not end the others
	group.SetLimit(lab.PreparedAtOnce)
	failed := make([]error, len(topos))
	for i, topo := range topos {
		group.Go(func() error {
			failed[i] = a.prepareLab(ctx, topo, dirs, machine, shown, artifacts)
			return nil
		})
	}
	_ = group.Wait() // failed has the errors
	return errors.Join(failed...)
}

func (a *app) prepareLab(ctx context.Context, topo *topology.Topology, dirs lab.Dirs, machine lab.Host, shown *progress, artifacts string) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	name := topo.Metadata.Name
	s := &session{app: a, progress: shown, artifacts: artifacts}
	s.lab, err = lab.New(lab.Config{
		Topology: topo, Dirs: dirs, Log: a.log, Host: machine, Owner: owner("prepare"),
		Progress: func(e lab.Event) {
			if e.Stage == "accelerator" || e.Stage == "impairment seed" { // the same for all, and of no use to a lab that ends
				return
			}
			e.Node = strings.TrimSpace(name + " " + e.Node)
			s.event(e)
		},
		Capture: func(string) (io.WriteCloser, error) { return nowhere{io.Discard}, nil },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lab.Close()) }()
	if err := s.lab.Prepare(ctx); err != nil {
		if ctx.Err() == nil {
			s.keepEvidence(ctx, "prepare")
		}
		return fmt.Errorf("prepare %s: %w", name, err)
	}
	shown.tell(name, "prepared")
	return nil
}

// nowhere is where captures go of a lab that nobody uses.
type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }
