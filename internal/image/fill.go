package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ionlab/internal/lock"
)

// workspace is a temporary folder of the store with a lock that says that its owner lives.
type workspace struct {
	dir   string
	alive *lock.Lock
	store *Store
}

// newWorkspace makes a workspace, and removes those of dead owners. Both happen under one lock: between a folder's making and
// its locking it would look dead to another process.
func (s *Store) newWorkspace(ctx context.Context) (*workspace, error) {
	all, err := hold(ctx, s.path(locksDir, tmpDir), "a temporary folder", nil)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(all)
	s.sweepLocked(ctx, false)
	dir, err := os.MkdirTemp(s.path(tmpDir), "fill-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder in the image store: %w", err)
	}
	w := &workspace{dir: dir, store: s}
	w.alive, err = lock.Try(dir+".lock", lock.Exclusive)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(w.out(), 0o755))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a temporary folder in the image store: %w", err), w.close(ctx))
	}
	return w, nil
}

// out is the folder that becomes the object.
func (w *workspace) out() string { return filepath.Join(w.dir, "out") }

// close removes what is left of the workspace, also after ctx has ended.
func (w *workspace) close(ctx context.Context) error {
	err := w.store.removeTree(context.WithoutCancel(ctx), w.dir)
	return errors.Join(err, ignoreAbsent(os.Remove(w.dir+".lock")), w.alive.Close())
}

// sweep is sweepLocked for those who do not hold the lock.
func (s *Store) sweep(ctx context.Context, dryRun bool) ([]string, error) {
	all, err := lock.Wait(ctx, s.path(locksDir, tmpDir), lock.Exclusive, nil)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(all)
	return s.sweepLocked(ctx, dryRun), nil
}

// sweepLocked removes the workspaces of dead owners, and returns their folders; with dryRun it only returns them.
func (s *Store) sweepLocked(ctx context.Context, dryRun bool) []string {
	left, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		s.log.Debug("the image store's temporary folder was not swept", "err", err)
		return nil
	}
	var swept []string
	seen := map[string]bool{}
	for _, d := range left {
		dir := strings.TrimSuffix(s.path(tmpDir, d.Name()), ".lock")
		if seen[dir] {
			continue // a folder and its lock are one
		}
		seen[dir] = true
		l, err := lock.TryExisting(dir+".lock", lock.Exclusive)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue
		}
		swept = append(swept, dir)
		w := &workspace{dir: dir, alive: l, store: s}
		finish := w.close
		if dryRun {
			finish = func(context.Context) error { return l.Close() } // the lock's file stays, too
		}
		if err := finish(ctx); err != nil {
			s.log.Warn("a dead process's temporary folder was not removed", "folder", dir, "err", err)
		}
	}
	return swept
}

// removeTree removes a folder; where it holds files of the user's subordinate ids, root of a user namespace removes them.
func (s *Store) removeTree(ctx context.Context, dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || s.euid == 0 {
		return err
	}
	argv := append(s.namespace(), "rm", "-rf", "--", dir)
	if nsErr := s.run.Run(ctx, command{Argv: argv}); nsErr != nil {
		return errors.Join(err, nsErr)
	}
	return nil
}

// filled is what the maker of an object tells of it.
type filled struct {
	kind, source string
	name         string
	firmware     string
	cmdline      string
	suite        string
	packages     []string
	base         string // id of the object below, for packages on top of a recipe image
	virtualSize  int64
}

// fill has produce put the object's files into a folder, moves the folder into place, points the reference at it, and returns the
// image in use. The caller holds the reference's fill lock.
func (s *Store) fill(ctx context.Context, key string, rep *reporter, produce func(ctx context.Context, w *workspace) (filled, error)) (img *Image, err error) {
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close(ctx)) }()
	f, err := produce(ctx, w)
	if err != nil {
		return nil, spaceHint(err, s.cfg.Dir)
	}
	m, err := s.describe(ctx, w.out(), f, rep)
	if err != nil {
		return nil, spaceHint(err, s.cfg.Dir)
	}
	img, err = s.install(ctx, w.out(), m, f)
	if err != nil {
		return nil, err
	}
	r := ref{Object: m.id(), Name: f.name, Kind: f.kind, Source: f.source, Packages: f.packages, Base: f.base, Created: s.cfg.Now().UTC()}
	if err := writeAtomic(w.dir, s.refPath(key), r); err != nil {
		return nil, errors.Join(fmt.Errorf("record image %q: %w", f.name, err), img.Close())
	}
	s.log.Info("image is ready", "image", f.name, "packages", f.packages, "digest", m.Digest, "object", m.id())
	rep.begin("ready", "")
	if _, err := s.Evict(ctx); err != nil {
		s.log.Warn("the image store was not brought below its bound", "err", err)
	}
	return img, nil
}

// describe hashes the files, makes them read-only and durable, and writes the object's description.
func (s *Store) describe(ctx context.Context, dir string, f filled, rep *reporter) (*meta, error) {
	m := &meta{
		Kind: f.kind, Source: f.source, Created: s.cfg.Now().UTC(), Format: "qcow2", Firmware: f.firmware,
		VirtualSize: f.virtualSize, Cmdline: f.cmdline, Suite: f.suite, Packages: f.packages,
	}
	files, err := hashDir(ctx, dir, rep)
	if err != nil {
		return nil, err
	}
	m.Files = files
	m.Digest = m.contentDigest()
	for name := range files {
		if err := seal(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	if err := writeAtomic(dir, filepath.Join(dir, metaFile), m); err != nil {
		return nil, err
	}
	return m, errors.Join(os.Chmod(filepath.Join(dir, metaFile), 0o444), syncDir(dir))
}

// install moves the folder to its place, unless the same content is there already, and takes it into use.
func (s *Store) install(ctx context.Context, dir string, m *meta, f filled) (*Image, error) {
	used, err := lock.Wait(ctx, s.objectLock(m.id()), lock.Shared, nil)
	if err != nil {
		return nil, fmt.Errorf("take image %q into use: %w", f.name, err)
	}
	place := s.objectDir(m.id())
	if old, err := readMeta(place); err != nil || s.intact(ctx, f.name, place, old) != nil {
		if err := s.discard(ctx, place); err != nil {
			return nil, errors.Join(err, used.Close())
		}
		if err := os.Rename(dir, place); err != nil {
			return nil, errors.Join(fmt.Errorf("move image %q into place: %w", f.name, err), used.Close())
		}
		s.checked(place, m)
	}
	s.touch(m.id())
	return newImage(f.name, place, m, f.packages, used), nil
}

// discard moves a folder out of sight and removes it; one that does not exist is fine.
func (s *Store) discard(ctx context.Context, dir string) error {
	if !exists(dir) {
		return nil
	}
	w, err := s.newWorkspace(ctx)
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(dir, filepath.Join(w.dir, "discarded")), w.close(ctx))
}
