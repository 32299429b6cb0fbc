package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ionlab/internal/lab"
	"ionlab/internal/poll"
)

func (a *app) downCmd() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "down LAB", Short: "End a lab of another process",
		Long: `down asks the owner of a lab, by SIGTERM, to end it in order, and waits until it is gone. "labtest up" ends with its
lab. A test run is interrupted as a whole: Ginkgo reports the spec that ran, and cleans up.`,
		Example: "  labtest down .",
		Args:    wants("LAB"), ValidArgsFunction: a.completeLab,
		RunE: verb(func(ctx context.Context, args []string) error { return a.down(ctx, args[0], limit) }),
	}
	cmd.Flags().DurationVar(&limit, "timeout", time.Minute, "how long the owner may take")
	return cmd
}

func (a *app) down(ctx context.Context, word string, limit time.Duration) error {
	found, err := a.find(ctx, word)
	if err != nil {
		return err
	}
	dirs, err := a.dirs()
	if err != nil {
		return err
	}
	pid, err := a.terminate(found.ID, filepath.Join(dirs.Run, found.ID, "lock"))
	if err != nil {
		return fmt.Errorf("end lab %s: %w", found.ID, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("its owner, process %d, has not ended it within %s; "+
		"kill -9 %d ends it at once, labtest gc removes what then is left", pid, limit, pid))
	defer cancel()
	if err := poll.Until(ctx, 50*time.Millisecond, func(context.Context) error { return stillThere(dirs, found.ID) }); err != nil {
		return fmt.Errorf("end lab %s: %w", found.ID, err)
	}
	if err := a.sweep(ctx, dirs, found.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "lab %s is gone\n", found.ID)
	return err
}

// terminate sends SIGTERM to the owner, and to nobody else: the handle is taken before the lock is looked at again, and
// os.FindProcess's handle (pidfd_open(2)) never leads to a later process of the same number.
func (a *app) terminate(id, lock string) (int, error) {
	pid, err := holder(lock)
	if err != nil {
		return 0, err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return 0, fmt.Errorf("find process %d: %w", pid, err)
	}
	defer func() { _ = process.Release() }()
	if again, err := holder(lock); err != nil || again != pid {
		return 0, fmt.Errorf("its owner changed while it was looked for: %w", errors.Join(err, errNoHolder))
	}
	fmt.Fprintf(a.err, "asking process %d to end lab %s\n", pid, id)
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("signal process %d: %w", pid, err)
	}
	return pid, nil
}

func stillThere(dirs lab.Dirs, id string) error {
	labs, err := lab.Find(dirs)
	if err != nil {
		return poll.Stop(err)
	}
	if slices.ContainsFunc(labs, func(f lab.Found) bool { return f.ID == id }) {
		return errors.New("its owner still holds its lock")
	}
	return nil
}

// sweep removes what an owner left that died rather than ended its lab. Leftovers of other labs go along: nobody owns
// them either.
func (a *app) sweep(ctx context.Context, dirs lab.Dirs, id string) error {
	for _, dir := range []string{dirs.Run, dirs.State} {
		if _, err := os.Lstat(filepath.Join(dir, id)); err == nil {
			_, err := lab.GC(ctx, dirs, lab.GCRemove)
			return err
		}
	}
	return nil
}
