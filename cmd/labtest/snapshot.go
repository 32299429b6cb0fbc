package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ionlab/internal/lab"
	"ionlab/internal/snapshot"
)

func (a *app) snapshotCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Short: "List, check and remove the snapshots that labs start from",
		Long: `snapshot looks after what labs leave when they boot cold: memory and disks, from which the next lab of the same topology
starts in seconds. KEY is the beginning of a snapshot's key, as "labtest snapshot list" shows it.`,
		Args: cobra.ArbitraryArgs, RunE: a.needVerb,
	}
	cmd.AddCommand(a.snapshotListCmd(), a.snapshotRemoveCmd(), a.snapshotVerifyCmd())
	return cmd
}

// snapshots opens the store; nil where there is none yet.
func (a *app) snapshots(dirs lab.Dirs) (*snapshot.Store, error) {
	if _, err := os.Stat(filepath.Join(dirs.Cache, "snapshots")); errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // no store is an answer, and looking makes none.
	}
	return lab.OpenSnapshots(dirs, a.log)
}

// withSnapshots does something with the store, if there is one.
func (a *app) withSnapshots(work func(*snapshot.Store) error) error {
	dirs, err := a.dirs()
	if err != nil {
		return err
	}
	store, err := a.snapshots(dirs)
	if err != nil || store == nil {
		return err
	}
	return work(store)
}

// snapshotJSON is a snapshot in the output of `labtest snapshot list --json`, which is an array of them. Fields may be
// added, never renamed or removed.
type snapshotJSON struct {
	Key      string            `json:"key"`
	Topology string            `json:"topology"`
	Nodes    []string          `json:"nodes"`
	Bytes    int64             `json:"bytes"` // on disk
	Created  time.Time         `json:"created,omitzero"`
	LastUsed time.Time         `json:"last_used,omitzero"`
	InUse    bool              `json:"in_use"`  // a running lab was started from it
	Damaged  string            `json:"damaged"` // why no lab starts from it; empty when nothing is known to be wrong
	Path     string            `json:"path"`
	Inputs   map[string]string `json:"inputs"` // what it was made from
}

func (a *app) snapshotListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "Show the snapshots, those used last first",
		Args: wants(),
		RunE: verb(func(context.Context, []string) error {
			infos := []snapshot.Info{}
			err := a.withSnapshots(func(s *snapshot.Store) (err error) {
				infos, err = s.List()
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, snapshotsJSON(infos))
			}
			return a.writeSnapshots(a.out, infos)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "an array for programs")
	return cmd
}

func snapshotsJSON(infos []snapshot.Info) []snapshotJSON {
	out := make([]snapshotJSON, 0, len(infos))
	for _, i := range infos {
		out = append(out, snapshotJSON{
			Key: i.Key, Topology: i.Topology, Nodes: append([]string{}, i.Nodes...), Bytes: i.Bytes, Created: i.Created,
			LastUsed: i.LastUsed, InUse: i.InUse, Damaged: i.Damaged, Path: i.Path, Inputs: i.Inputs,
		})
	}
	return out
}

func (a *app) writeSnapshots(w io.Writer, infos []snapshot.Info) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tTOPOLOGY\tNODES\tSIZE\tMADE\tUSED\tSTATE")
	for _, i := range infos {
		state := "present"
		switch {
		case i.Damaged != "":
			state = i.Damaged
		case i.InUse:
			state = "in use"
		}
		if _, ok := i.Inputs[lab.SetUpInput]; ok && i.Damaged == "" {
			state += ", set up"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", snapshot.Short(i.Key), dash(i.Topology), dash(strings.Join(i.Nodes, " ")),
			byteSize(i.Bytes), a.ago(i.Created), a.ago(i.LastUsed), state)
	}
	return table.Flush()
}

// ago is a time for people.
func (a *app) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return elapsed(max(0, a.now().Sub(t))) + " ago"
}

func (a *app) snapshotRemoveCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "rm KEY", Aliases: []string{"remove"}, Short: "Remove a snapshot; the next lab of its topology boots cold",
		Long:    "rm refuses a snapshot that a running lab was started from; with --all it leaves those.",
		Example: "  labtest snapshot rm c3f0aba7\n  labtest snapshot rm --all",
		Args: func(_ *cobra.Command, args []string) error {
			if all != (len(args) == 0) || len(args) > 1 {
				return usage(errors.New("give one KEY, or --all"))
			}
			return nil
		},
		RunE: verb(func(ctx context.Context, args []string) error {
			if all {
				return a.removeSnapshots(ctx)
			}
			return a.removeSnapshot(ctx, args[0])
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every snapshot that no running lab was started from")
	return cmd
}

func (a *app) removeSnapshot(ctx context.Context, text string) error {
	found := false
	err := a.withSnapshots(func(s *snapshot.Store) error {
		found = true
		key, err := s.Find(text)
		if err != nil {
			return err
		}
		return s.Remove(ctx, key)
	})
	if err == nil && !found {
		err = fmt.Errorf("%q: %w", text, snapshot.ErrAbsent)
	}
	return err
}

func (a *app) removeSnapshots(ctx context.Context) error {
	return a.withSnapshots(func(s *snapshot.Store) error {
		infos, err := s.List()
		if err != nil {
			return err
		}
		var errs []error
		for _, info := range infos {
			if !info.InUse {
				errs = append(errs, s.Remove(ctx, info.Key))
			}
		}
		return errors.Join(errs...)
	})
}

func (a *app) snapshotVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Read every snapshot's files and compare them with their digests",
		Args: wants(),
		RunE: verb(func(ctx context.Context, _ []string) error {
			return a.withSnapshots(func(s *snapshot.Store) error {
				infos, err := s.List()
				if err != nil {
					return err
				}
				var errs []error
				for _, info := range infos {
					if err := s.Verify(ctx, info.Key); err != nil {
						errs = append(errs, err)
						continue
					}
					fmt.Fprintf(a.out, "%s %s: ok\n", snapshot.Short(info.Key), info.Topology)
				}
				return errors.Join(errs...)
			})
		}),
	}
}

// snapshotGarbage looks after the snapshot store, if there is one.
func (a *app) snapshotGarbage(ctx context.Context, dirs lab.Dirs, mode snapshot.Mode) ([]garbage, error) {
	store, err := a.snapshots(dirs)
	if err != nil || store == nil {
		return nil, err
	}
	removed, err := store.GC(ctx, mode)
	var out []garbage
	for _, r := range removed {
		out = append(out, garbage{what: r.What, paths: []string{r.Path}, bytes: r.Bytes})
	}
	return out, err
}
