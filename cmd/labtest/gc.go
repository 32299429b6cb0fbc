package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ionlab/internal/image"
	"ionlab/internal/lab"
	"ionlab/internal/snapshot"
)

func (a *app) gcCmd() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "gc", Short: "Remove what dead labs left on disk",
		Long: `gc removes the folders of labs whose owner was killed, and in the stores of images and snapshots what killed builds and
downloads left, what nothing refers to, and what is above the store's bound. It prints what it removes.

A lab dies with its owner, so there is never a process to end. What belongs to a living owner is never touched: the
kernel knows who holds a lab's lock.`,
		Example: "  labtest gc --dry-run",
		Args:    wants(),
		RunE:    verb(func(ctx context.Context, _ []string) error { return a.gc(ctx, dryRun) }),
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "only print what would be removed")
	return cmd
}

// garbage is one thing that is in the way.
type garbage struct {
	what  string
	paths []string
	bytes int64
}

func (a *app) gc(ctx context.Context, dryRun bool) error {
	dirs, err := a.dirs()
	if err != nil {
		return err
	}
	mode, snapshots, verb := lab.GCRemove, snapshot.ModeRemove, "removed"
	if dryRun {
		mode, snapshots, verb = lab.GCDryRun, snapshot.ModeDryRun, "would remove"
	}
	labs, errLabs := labGarbage(ctx, dirs, mode)
	images, errImages := a.imageGarbage(ctx, dirs, image.GCOptions{DryRun: dryRun})
	saved, errSaved := a.snapshotGarbage(ctx, dirs, snapshots)
	var sum int64
	all := slices.Concat(labs, images, saved)
	for _, g := range all {
		sum += g.bytes
		fmt.Fprintf(a.out, "%s %s (%s)\n", verb, g.what, byteSize(g.bytes))
		for _, path := range g.paths {
			fmt.Fprintf(a.out, "  %s\n", path)
		}
	}
	if err := errors.Join(errLabs, errImages, errSaved); err != nil {
		return err
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(a.out, "nothing to remove")
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s %s in all\n", verb, byteSize(sum))
	return err
}

func labGarbage(ctx context.Context, dirs lab.Dirs, mode lab.GCMode) ([]garbage, error) {
	found, err := lab.GC(ctx, dirs, mode)
	slices.SortFunc(found, func(a, b lab.Leftover) int { return strings.Compare(a.ID, b.ID) })
	var out []garbage
	for _, l := range found {
		out = append(out, garbage{what: "lab " + l.ID, paths: l.Paths, bytes: l.Bytes})
	}
	return out, err
}

// imageGarbage looks after the image store, if there is one.
func (a *app) imageGarbage(ctx context.Context, dirs lab.Dirs, opts image.GCOptions) ([]garbage, error) {
	if _, err := os.Stat(filepath.Join(dirs.Cache, "images")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	store, err := a.store(dirs, nil)
	if err != nil {
		return nil, err
	}
	removed, err := store.GC(ctx, opts)
	var out []garbage
	for _, r := range removed {
		out = append(out, garbage{what: r.What, paths: []string{r.Path}, bytes: r.Bytes})
	}
	return out, err
}
