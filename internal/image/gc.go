package image

import (
	"cmp"
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

// Bounds of what is kept besides images: packages by their size, an unfinished download by its age.
const (
	debsMaxBytes = 2 << 30
	partMaxAge   = 14 * 24 * time.Hour
)

// Removed is something that GC or Evict removed, or would remove.
type Removed struct {
	// Path is where it was, What a word for a human ("temporary folder", "image debian-12", ...), Bytes its size on disk.
	Path, What string
	Bytes      int64
}

// GCOptions says how to collect.
type GCOptions struct {
	// DryRun only reports.
	DryRun bool
}

// object is one image folder as the collector sees it.
type object struct {
	id       string
	names    []string // of the references that lead to it
	refs     []string // their keys
	pinned   bool
	bytes    int64
	lastUsed time.Time
}

// GC removes what dead processes left, objects that nothing refers to, old unfinished downloads, and, by last use, what is above
// the bounds. It never removes an image in use or an imported one.
func (s *Store) GC(ctx context.Context, opts GCOptions) ([]Removed, error) {
	var out []Removed
	var problems []error
	swept, err := s.sweep(ctx, opts.DryRun)
	problems = append(problems, err)
	for _, dir := range swept {
		out = append(out, Removed{Path: dir, What: "temporary folder of a dead process"})
	}
	gone, err := s.removeUnreferenced(ctx, "", opts)
	problems = append(problems, err, s.dropDangling(opts), s.dropUnused(opts))
	out = append(out, gone...)
	evicted, err := s.evict(ctx, opts)
	problems = append(problems, err)
	out = append(out, evicted...)
	files, err := s.trimFiles(opts)
	problems = append(problems, err)
	out = append(out, files...)
	if err := errors.Join(problems...); err != nil {
		return out, fmt.Errorf("collect the image store: %w", err)
	}
	return out, nil
}

// removeUnreferenced removes objects that nothing refers to and nobody uses; one of them, or all if id is empty.
func (s *Store) removeUnreferenced(ctx context.Context, id string, opts GCOptions) ([]Removed, error) {
	objects, err := s.objects()
	problems := []error{err}
	var out []Removed
	for _, o := range objects {
		if len(o.refs) > 0 || id != "" && o.id != id {
			continue
		}
		gone, err := s.removeObject(ctx, o, opts)
		if !errors.Is(err, lock.ErrBusy) {
			problems = append(problems, err)
		}
		out = append(out, gone...)
	}
	return out, errors.Join(problems...)
}

// Evict brings the store below its bound: of the images that can be had again and that nobody uses, those go that were not used
// for longest.
func (s *Store) Evict(ctx context.Context) ([]Removed, error) {
	return s.evict(ctx, GCOptions{})
}

func (s *Store) evict(ctx context.Context, opts GCOptions) ([]Removed, error) {
	objects, err := s.objects()
	if err != nil {
		return nil, err
	}
	var sum int64
	objects = slices.DeleteFunc(objects, func(o object) bool { return o.pinned })
	for _, o := range objects {
		sum += o.bytes
	}
	slices.SortFunc(objects, func(a, b object) int { return a.lastUsed.Compare(b.lastUsed) })
	var out []Removed
	for _, o := range objects {
		if sum <= s.cfg.MaxBytes {
			break
		}
		gone, err := s.removeObject(ctx, o, opts)
		if errors.Is(err, lock.ErrBusy) {
			continue
		}
		if err != nil {
			return out, err
		}
		sum -= o.bytes
		out = append(out, gone...)
	}
	return out, nil
}

// objects returns all image folders with the references that lead to them.
func (s *Store) objects() ([]object, error) {
	refs, err := readRefs(s.path(refsDir))
	if err != nil {
		return nil, err
	}
	dirs, err := os.ReadDir(s.path(objectsDir))
	if err != nil {
		return nil, err
	}
	var out []object
	for _, d := range dirs {
		o := object{id: d.Name()}
		for key, r := range refs {
			if r.Object == o.id {
				o.refs = append(o.refs, key)
				o.names = append(o.names, r.Name)
				o.pinned = o.pinned || r.Kind == KindImport
			}
		}
		if o.bytes, err = diskUsage(s.objectDir(o.id)); err != nil {
			return nil, err
		}
		if st, err := os.Stat(s.objectLock(o.id)); err == nil {
			o.lastUsed = st.ModTime()
		}
		slices.Sort(o.names)
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b object) int { return cmp.Compare(a.id, b.id) })
	return out, nil
}

// removeObject removes an object and its references, unless it is in use (lock.ErrBusy).
func (s *Store) removeObject(ctx context.Context, o object, opts GCOptions) ([]Removed, error) {
	take := lock.Try
	if opts.DryRun {
		take = lock.TryExisting
	}
	l, err := take(s.objectLock(o.id), lock.Exclusive)
	if err != nil && (!opts.DryRun || !errors.Is(err, os.ErrNotExist)) {
		return nil, err
	}
	defer closeQuietly(l)
	if now, err := readRefs(s.path(refsDir)); err != nil {
		return nil, err
	} else if leadTo(now, o.id) > len(o.refs) {
		return nil, lock.ErrBusy // it has just been made
	}
	what := "image that nothing refers to"
	if len(o.names) > 0 {
		what = fmt.Sprintf("image %s", quoted(slices.Compact(slices.Clone(o.names))))
	}
	gone := []Removed{{Path: s.objectDir(o.id), What: what, Bytes: o.bytes}}
	if opts.DryRun {
		return gone, nil
	}
	for _, key := range o.refs {
		if err := ignoreAbsent(os.Remove(s.refPath(key))); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(s.discard(ctx, s.objectDir(o.id)), ignoreAbsent(os.Remove(s.checkedPath(o.id)))); err != nil {
		return nil, err
	}
	s.log.Info("image removed from the store", "image", o.names, "object", o.id, "bytes", o.bytes)
	return gone, nil
}

func leadTo(refs map[string]ref, id string) int {
	n := 0
	for _, r := range refs {
		if r.Object == id {
			n++
		}
	}
	return n
}

// dropDangling removes references to objects that are gone; an import's stays, to say that its files are missing.
func (s *Store) dropDangling(opts GCOptions) error {
	refs, err := readRefs(s.path(refsDir))
	if err != nil || opts.DryRun {
		return err
	}
	var problems []error
	for key, r := range refs {
		if r.Kind != KindImport && !exists(s.objectDir(r.Object)) {
			problems = append(problems, ignoreAbsent(os.Remove(s.refPath(key))))
		}
	}
	return errors.Join(problems...)
}

// trimFiles removes old unfinished downloads, and the oldest packages above their bound.
func (s *Store) trimFiles(opts GCOptions) ([]Removed, error) {
	parts, err := oldestFirst(s.path(downloadsDir))
	debs, debsErr := oldestFirst(s.path(debsDir))
	problems := []error{err, debsErr}
	var doomed []Removed
	for _, f := range parts {
		if s.cfg.Now().Sub(f.modified) > partMaxAge {
			doomed = append(doomed, Removed{Path: f.path, What: "unfinished download", Bytes: f.size})
		}
	}
	var sum int64
	for _, f := range debs {
		sum += f.size
	}
	for _, f := range debs {
		if sum <= debsMaxBytes {
			break
		}
		sum -= f.size
		doomed = append(doomed, Removed{Path: f.path, What: "cached package", Bytes: f.size})
	}
	if !opts.DryRun {
		for _, d := range doomed {
			problems = append(problems, ignoreAbsent(os.Remove(d.Path)))
		}
	}
	return doomed, errors.Join(problems...)
}

// dropUnused removes what is too small to be told of: locks that nobody holds, but for those that know when an object was used
// last, and packages that a killed build has not downloaded whole.
func (s *Store) dropUnused(opts GCOptions) error {
	if opts.DryRun {
		return nil
	}
	var problems []error
	if building, err := lock.Try(s.path(locksDir, builderLock), lock.Exclusive); err == nil {
		problems = append(problems, os.RemoveAll(s.path(debsDir, "partial")), building.Close())
	}
	locks, err := filepath.Glob(s.path(locksDir, "*"))
	locks = slices.DeleteFunc(locks, func(path string) bool {
		id, ok := strings.CutPrefix(filepath.Base(path), "object-")
		return ok && exists(s.objectDir(id))
	})
	return errors.Join(append(problems, err, lock.Sweep(locks))...)
}

type agedFile struct {
	path     string
	size     int64
	modified time.Time
}

func oldestFirst(dir string) ([]agedFile, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []agedFile
	for _, d := range list {
		st, err := d.Info()
		if err == nil && st.Mode().IsRegular() {
			out = append(out, agedFile{filepath.Join(dir, d.Name()), st.Size(), st.ModTime()})
		}
	}
	slices.SortFunc(out, func(a, b agedFile) int { return a.modified.Compare(b.modified) })
	return out, nil
}
