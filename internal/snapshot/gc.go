package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ionlab/internal/lock"
)

// Info is what the store has for a key.
type Info struct {
	Key      string
	Topology string
	Nodes    []string
	Inputs   Inputs
	Created  time.Time
	LastUsed time.Time
	Bytes    int64 // on disk
	Path     string
	InUse    bool   // a lab was started from it and lives
	Damaged  string // why it cannot be opened; empty when it can. Its files' content is not looked at.
}

// List returns the entries, those used last first.
func (s *Store) List() ([]Info, error) {
	refs, err := os.ReadDir(s.path(refsDir))
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []Info
	for _, ref := range refs {
		if keyForm.MatchString(ref.Name()) {
			out = append(out, s.info(ref.Name()))
		}
	}
	slices.SortFunc(out, func(a, b Info) int { return b.LastUsed.Compare(a.LastUsed) })
	return out, nil
}

func (s *Store) info(key string) Info {
	info := Info{Key: key}
	name, digest, err := s.readRef(key)
	if err != nil {
		info.Damaged = err.Error()
		return info
	}
	info.Path = s.entryDir(name)
	info.Bytes = usage(info.Path)
	if stat, err := os.Stat(filepath.Join(info.Path, lockName)); err == nil {
		info.LastUsed = stat.ModTime()
	}
	if l, err := lock.TryExisting(filepath.Join(info.Path, lockName), lock.Exclusive); errors.Is(err, lock.ErrBusy) {
		info.InUse = true
	} else if err == nil {
		_ = l.Close() // it was only a look
	}
	m, err := readManifest(filepath.Join(info.Path, manifestName), digest)
	if err != nil {
		info.Damaged = err.Error()
		return info
	}
	info.Topology, info.Inputs, info.Created = m.Topology, m.Inputs, m.Created
	for _, node := range m.Nodes {
		info.Nodes = append(info.Nodes, node.Name)
	}
	return info
}

// Verify checks the files of a key's entry by SHA-256. What is wrong is a *DamagedError.
func (s *Store) Verify(ctx context.Context, key string) error {
	e, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	return errors.Join(e.verify(ctx, thorough), e.Close())
}

// Find returns the one key that begins with the given text.
func (s *Store) Find(text string) (string, error) {
	all, err := s.List()
	if err != nil {
		return "", err
	}
	var found []string
	for _, info := range all {
		if text != "" && strings.HasPrefix(info.Key, text) {
			found = append(found, info.Key)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%q: %w", text, ErrAbsent)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%q is the beginning of %d snapshots: give more of it", text, len(found))
}

// Remove removes the entry of a key. One in use stays, and the error says so.
func (s *Store) Remove(ctx context.Context, key string) error {
	name, _, err := s.readRef(key)
	var damaged *DamagedError
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	if name != "" {
		if err := s.removeEntry(ctx, name); errors.Is(err, lock.ErrBusy) {
			return fmt.Errorf("remove snapshot %s: a running lab uses it", Short(key))
		} else if err != nil {
			return fmt.Errorf("remove snapshot %s: %w", Short(key), err)
		}
	}
	return ignoreAbsent(os.Remove(s.refPath(key)))
}

// removeEntry removes an entry's folder, unless it is in use (lock.ErrBusy).
func (s *Store) removeEntry(ctx context.Context, name string) error {
	all, err := lock.Wait(ctx, s.path(tmpDir, ".lock"), lock.Exclusive, nil)
	if err != nil {
		return err
	}
	defer func() { _ = all.Close() }()
	return s.removeEntryLocked(name)
}

// removeEntryLocked is removeEntry for those who hold the lock on all drafts.
func (s *Store) removeEntryLocked(name string) error {
	dir := s.entryDir(name)
	l, err := lock.TryExisting(filepath.Join(dir, lockName), lock.Exclusive)
	if errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(dir) // without a lock nobody can have opened it
	}
	if err != nil {
		return err
	}
	gone := s.path(tmpDir, name)
	if err := os.Rename(dir, gone); err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(os.RemoveAll(gone), l.Close())
}

// Removed is something that GC or Evict removed, or would remove.
type Removed struct {
	// Path is where it was, What a word for a person, Bytes its size on disk.
	Path, What string
	Bytes      int64
}

// Mode says what GC does with what it finds.
type Mode int

// The modes of GC.
const (
	ModeRemove Mode = iota
	ModeDryRun
)

// GC removes what dead processes left, entries that no key leads to, and, by last use, what is above the bound. It never
// removes what is in use.
func (s *Store) GC(ctx context.Context, mode Mode) ([]Removed, error) {
	all, err := lock.Wait(ctx, s.path(tmpDir, ".lock"), lock.Exclusive, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = all.Close() }()
	var out []Removed
	var errs []error
	for _, left := range s.deadDrafts() {
		out = append(out, Removed{Path: left.dir, What: "unfinished snapshot of a dead process", Bytes: usage(left.dir)})
		remove := left.remove
		if mode == ModeDryRun {
			remove = left.lock.Close
		}
		errs = append(errs, remove())
	}
	orphans, err := s.orphans()
	errs = append(errs, err)
	for _, name := range orphans {
		r := Removed{Path: s.entryDir(name), What: "snapshot that nothing refers to", Bytes: usage(s.entryDir(name))}
		if mode == ModeRemove {
			err = s.removeEntryLocked(name)
		} else {
			err = s.tryEntry(name)
		}
		if err == nil {
			out = append(out, r)
		} else if !errors.Is(err, lock.ErrBusy) {
			errs = append(errs, err)
		}
	}
	if mode == ModeRemove {
		errs = append(errs, s.dropRefusals(), s.dropUnused())
	}
	evicted, err := s.evictLocked(mode)
	if err := errors.Join(append(errs, err)...); err != nil {
		return append(out, evicted...), fmt.Errorf("collect the snapshot store: %w", err)
	}
	return append(out, evicted...), nil
}

// dropUnused removes what is too small to be told of: locks of keys that nobody fills, and references that a process did not
// live to put in place. The caller holds the lock on all drafts, under which those are written.
func (s *Store) dropUnused() error {
	locks, errLocks := filepath.Glob(s.path(locksDir, "*"))
	parts, errParts := filepath.Glob(s.path(refsDir, "*"+partSuffix))
	errs := []error{errLocks, errParts, lock.Sweep(locks)}
	for _, path := range parts {
		errs = append(errs, ignoreAbsent(os.Remove(path)))
	}
	return errors.Join(errs...)
}

// tryEntry is lock.ErrBusy where an entry is in use.
func (s *Store) tryEntry(name string) error {
	l, err := lock.TryExisting(filepath.Join(s.entryDir(name), lockName), lock.Exclusive)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// orphans are the entries that no key leads to.
func (s *Store) orphans() ([]string, error) {
	list, err := os.ReadDir(s.path(entriesDir))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, file := range list {
		key, _, _ := strings.Cut(file.Name(), "-")
		if keyForm.MatchString(key) {
			if name, _, err := s.readRef(key); err == nil && name == file.Name() {
				continue
			}
		}
		out = append(out, file.Name())
	}
	return out, nil
}

// Evict brings the store below its bound: of the entries that nobody uses, those go that were not used for longest.
func (s *Store) Evict(ctx context.Context) ([]Removed, error) {
	all, err := lock.Wait(ctx, s.path(tmpDir, ".lock"), lock.Exclusive, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = all.Close() }()
	return s.evictLocked(ModeRemove)
}

func (s *Store) evictLocked(mode Mode) ([]Removed, error) {
	infos, err := s.List()
	if err != nil {
		return nil, err
	}
	var sum int64
	for _, info := range infos {
		sum += info.Bytes
	}
	var out []Removed
	for _, info := range slices.Backward(infos) {
		if sum <= s.cfg.MaxBytes {
			break
		}
		if info.InUse || info.Path == "" {
			continue
		}
		if mode == ModeRemove {
			err := s.removeEntryLocked(filepath.Base(info.Path))
			if errors.Is(err, lock.ErrBusy) {
				continue
			}
			if err = errors.Join(err, ignoreAbsent(os.Remove(s.refPath(info.Key)))); err != nil {
				return out, err
			}
		}
		sum -= info.Bytes
		out = append(out, Removed{Path: info.Path, What: "snapshot " + Short(info.Key) + " of " + info.Topology, Bytes: info.Bytes})
	}
	return out, nil
}
