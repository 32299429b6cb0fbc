package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ionlab/internal/ledger"
	"ionlab/internal/lock"
)

// lockName is the file in a lab's run folder on which its owner holds a lock.
const lockName = "lock"

// Leftover is what a lab of a dead owner left on disk.
type Leftover struct {
	ID    string
	Paths []string
	Bytes int64
}

// GC finds what dead owners left behind and, unless dryRun, removes it. A lab whose owner lives is never touched:
// its lock is held. Labs die with their owners by themselves, so only files are left; where the host forbids PID
// namespaces, machines too.
func GC(ctx context.Context, dirs Dirs, mode GCMode) ([]Leftover, error) {
	if mode == GCRemove {
		if err := dirs.create(); err != nil {
			return nil, err
		}
	}
	// A run folder that is not there yet, or not any more since the host's restart, has no lock and no living lab.
	if exists(filepath.Join(dirs.Run, dirsLock)) || mode == GCRemove {
		unlock, err := lockDirs(ctx, dirs)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	found, err := leftovers(dirs)
	if err != nil || mode == GCDryRun {
		return found, err
	}
	for _, l := range found {
		err = errors.Join(err, killStrays(filepath.Join(dirs.Run, l.ID)))
		for _, path := range l.Paths {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	if err = errors.Join(err, clearLedger(ctx, dirs)); err != nil {
		return found, fmt.Errorf("remove leftovers: %w", err)
	}
	return found, nil
}

// clearLedger strikes out what dead owners have in the books of the host's memory.
func clearLedger(ctx context.Context, dirs Dirs) error {
	if !exists(ledgerDir(dirs)) {
		return nil
	}
	books, err := ledger.Open(ledger.Config{Dir: ledgerDir(dirs)})
	if err != nil {
		return err
	}
	_, err = books.Claims(ctx)
	return err
}

// GCMode says what GC does with what it finds.
type GCMode int

// The modes of GC.
const (
	GCRemove GCMode = iota
	GCDryRun
)

func leftovers(dirs Dirs) ([]Leftover, error) {
	ids := map[string]bool{}
	for _, dir := range []string{dirs.Run, dirs.State} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list labs: %w", err)
		}
		for _, entry := range entries {
			if entry.IsDir() && isID(entry.Name()) {
				ids[entry.Name()] = true
			}
		}
	}
	var found []Leftover
	for id := range ids {
		if alive(filepath.Join(dirs.Run, id)) {
			continue
		}
		found = append(found, measure(dirs, id))
	}
	return found, nil
}

// alive tells whether the owner of the lab in run holds its lock; when in doubt it does. The lock is not created: its
// folder may be about to go. It is tried shared, so that those who look do not take each other for the owner.
func alive(run string) bool {
	held, err := lock.TryExisting(filepath.Join(run, lockName), lock.Shared)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	_ = held.Close() // it was only a look
	return false
}

func measure(dirs Dirs, id string) Leftover {
	l := Leftover{ID: id}
	for _, dir := range []string{dirs.Run, dirs.State} {
		path := filepath.Join(dir, id)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		l.Paths = append(l.Paths, path)
		l.Bytes += usage(path)
	}
	return l
}

func isID(name string) bool {
	if len(name) != 6 {
		return false
	}
	for _, r := range name {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}
