package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ionlab/internal/lock"
)

// Draft is an entry that is being filled. Its owner holds the key's lock: others who want the same key wait.
type Draft struct {
	store *Store
	key   string
	dir   string
	maps  []string   // files that QEMU maps
	fill  *lock.Lock // on the key
	alive *lock.Lock // on the folder
}

// Begin takes the lock of a key for filling it, waiting for whoever fills it now; waiting is told who that is and may be
// nil. doing says what this process is at, for those who then wait. Look again with Get afterwards: another may have
// filled the key meanwhile. Close the draft in any case.
func (s *Store) Begin(ctx context.Context, key, doing string, waiting func(holder string)) (_ *Draft, err error) {
	if !keyForm.MatchString(key) {
		return nil, fmt.Errorf("%q is no key of a snapshot", key)
	}
	d := &Draft{store: s, key: key}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("begin snapshot %s: %w", Short(key), err), d.Close())
		}
	}()
	if d.fill, err = lock.Wait(ctx, s.path(locksDir, key), lock.Exclusive, waiting); err != nil {
		return nil, err
	}
	d.fill.Sign(doing)
	return d, d.makeDir(ctx)
}

// makeDir makes the draft's folder, and removes those of dead owners. Both happen under one lock: between a folder's
// making and its locking it would look dead to another process.
func (d *Draft) makeDir(ctx context.Context) error {
	s := d.store
	all, err := lock.Wait(ctx, s.path(tmpDir, ".lock"), lock.Exclusive, nil)
	if err != nil {
		return err
	}
	defer func() { _ = all.Close() }()
	for _, left := range s.deadDrafts() {
		if err := left.remove(); err != nil {
			s.log.Warn("a dead process's unfinished snapshot was not removed", "folder", left.dir, "err", err)
		}
	}
	name, err := d.newName()
	if err != nil {
		return err
	}
	d.dir = s.path(tmpDir, name)
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return err
	}
	if d.alive, err = lock.Try(filepath.Join(d.dir, lockName), lock.Exclusive); err != nil {
		return err
	}
	if s.cfg.Owner == nil {
		return nil
	}
	return os.Chown(d.dir, s.cfg.Owner.UID, s.cfg.Owner.GID) // it writes the memory files
}

// newName is a name that no other entry of the key ever had.
func (d *Draft) newName() (string, error) {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return d.key + "-" + hex.EncodeToString(b[:]), nil
}

// Path is where a file of the draft belongs.
func (d *Draft) Path(name string) string { return filepath.Join(d.dir, name) }

// FromEntry is the path of a file of the same cache folder, as seen from the folder that the draft becomes. It is false for
// a file that lies elsewhere: it does not move when the cache does.
func (d *Draft) FromEntry(path string) (relative string, ok bool) {
	relative, err := filepath.Rel(d.dir, path) // the draft lies as deep as the entry will
	if err != nil || !strings.HasPrefix(path, filepath.Dir(d.store.cfg.Dir)+"/") {
		return "", false
	}
	// Where a folder of the cache is a symbolic link, ".." leads elsewhere.
	seen, err := os.Stat(d.dir + "/" + relative)
	if err != nil {
		return "", false
	}
	meant, err := os.Stat(path)
	return relative, err == nil && os.SameFile(seen, meant)
}

// Mapped says that QEMU maps a file of the draft. It opens such a file for writing, even one of which it maps a private copy and
// which it never changes (QEMU up to 8.1, softmmu/physmem.c): the user that runs it has to be allowed to.
func (d *Draft) Mapped(name string) { d.maps = append(d.maps, name) }

// Take moves a file of the host into the draft, or copies it where it lies on another file system.
func (d *Draft) Take(src, name string) error {
	err := os.Rename(src, d.Path(name))
	if errors.Is(err, unix.EXDEV) {
		if err = d.Copy(src, name); err == nil {
			err = os.Remove(src)
		}
	}
	if err != nil {
		return fmt.Errorf("take %s into snapshot %s: %w", src, Short(d.key), spaceHint(err, d.store.cfg.Dir))
	}
	return nil
}

// Copy copies a file of the host into the draft.
func (d *Draft) Copy(src, name string) error {
	if err := copyFile(src, d.Path(name)); err != nil {
		return fmt.Errorf("copy %s into snapshot %s: %w", src, Short(d.key), spaceHint(err, d.store.cfg.Dir))
	}
	return nil
}

func copyFile(src, dst string) error {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // it was only read
	to, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// Commit makes the draft's files durable and read-only, puts it in place of any entry that the key leads to, and returns
// it in use. Then it brings the store below its bound.
func (d *Draft) Commit(ctx context.Context, m *Manifest) (*Entry, error) {
	e, err := d.commit(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("keep snapshot %s: %w", Short(d.key), spaceHint(err, d.store.cfg.Dir))
	}
	if _, err := d.store.Evict(ctx); err != nil {
		d.store.log.Warn("the snapshot store was not brought below its bound", "err", err)
	}
	return e, nil
}

func (d *Draft) commit(ctx context.Context, m *Manifest) (*Entry, error) {
	s := d.store
	m.Key, m.Created, m.Files = d.key, s.cfg.Now().UTC(), map[string]File{}
	list, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	for _, file := range list {
		if file.Name() == lockName {
			continue
		}
		if m.Files[file.Name()], err = d.seal(ctx, d.Path(file.Name())); err != nil {
			return nil, err
		}
	}
	digest, err := m.write(d.Path(manifestName))
	if err != nil {
		return nil, err
	}
	if s.cfg.Owner != nil {
		if err := errors.Join(os.Chown(d.dir, os.Geteuid(), os.Getegid()), os.Chmod(d.dir, 0o711)); err != nil {
			return nil, err
		}
	}
	if err := syncFile(d.dir); err != nil {
		return nil, err
	}
	return d.install(ctx, m, digest)
}

// seal measures a file, and makes it durable and read-only for QEMU's user, unless that maps it.
func (d *Draft) seal(ctx context.Context, path string) (File, error) {
	out, err := measure(ctx, path, thorough, -1)
	if err != nil {
		return out, err
	}
	if owner := d.store.cfg.Owner; owner != nil {
		err = os.Chown(path, owner.UID, owner.GID)
	}
	mode := os.FileMode(0o400)
	if slices.Contains(d.maps, filepath.Base(path)) {
		mode = 0o600
	}
	return out, errors.Join(err, os.Chmod(path, mode), syncFile(path))
}

// install moves the folder into place and points the key at it. Its lock goes from exclusive to shared without a gap in
// which somebody could remove it: a name that no reference leads to is removed only under the lock on all drafts.
func (d *Draft) install(ctx context.Context, m *Manifest, digest string) (*Entry, error) {
	s := d.store
	all, err := lock.Wait(ctx, s.path(tmpDir, ".lock"), lock.Exclusive, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = all.Close() }()
	name := filepath.Base(d.dir)
	place := s.entryDir(name)
	if err := os.Rename(d.dir, place); err != nil {
		return nil, err
	}
	if err := d.alive.Close(); err != nil {
		return nil, err
	}
	d.dir = place // removed by Close, should the rest fail
	// A child that this process is just starting may still have the exclusive lock, until it is its own program.
	used, err := lock.Wait(ctx, filepath.Join(place, lockName), lock.Shared, nil)
	if err != nil {
		return nil, err
	}
	old, _, _ := s.readRef(d.key) // one that cannot be read is replaced
	if err := writeAtomic(s.refPath(d.key), name+" "+digest+"\n"); err != nil {
		return nil, errors.Join(err, used.Close())
	}
	d.dir = ""
	if err := ignoreAbsent(os.Remove(s.refPath(d.key) + refusalSuffix)); err != nil {
		s.log.Warn("an old refusal was not removed", "key", d.key, "err", err)
	}
	if old != "" {
		if err := s.removeEntryLocked(old); err != nil && !errors.Is(err, lock.ErrBusy) {
			s.log.Warn("the snapshot that was replaced was not removed", "entry", old, "err", err)
		}
	}
	e := &Entry{Manifest: m, dir: place, used: used}
	s.touch(e)
	return e, nil
}

// Close releases the key and removes what was not committed. It is idempotent and nil-safe.
func (d *Draft) Close() error {
	if d == nil {
		return nil
	}
	var err error
	if d.dir != "" {
		err = os.RemoveAll(d.dir)
		d.dir = ""
	}
	return errors.Join(err, d.alive.Close(), d.fill.Remove())
}

// deadDraft is the folder of a draft whose owner has died. Its lock is held.
type deadDraft struct {
	dir  string
	lock *lock.Lock
}

// deadDrafts finds the drafts of dead owners. The caller holds the lock on all drafts.
func (s *Store) deadDrafts() []deadDraft {
	list, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		s.log.Debug("unfinished snapshots were not looked for", "err", err)
		return nil
	}
	var dead []deadDraft
	for _, file := range list {
		if !file.IsDir() || strings.HasPrefix(file.Name(), ".") {
			continue
		}
		dir := s.path(tmpDir, file.Name())
		l, err := lock.TryExisting(filepath.Join(dir, lockName), lock.Exclusive)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			dead = append(dead, deadDraft{dir, l})
		}
	}
	return dead
}

func (d deadDraft) remove() error {
	return errors.Join(os.RemoveAll(d.dir), d.lock.Close())
}

// partSuffix is that of a reference that is being written.
const partSuffix = ".new"

func writeAtomic(path, text string) error {
	temporary := path + partSuffix
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return err
	}
	return errors.Join(syncFile(temporary), os.Rename(temporary, path))
}
