package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ionlab/internal/lock"
)

// DefaultMaxBytes bounds a store whose Config names no bound: 20 GiB.
const DefaultMaxBytes = 20 << 30

// Owner is a user of the host.
type Owner struct{ UID, GID int }

// Config says where a store is. Only Dir is required.
type Config struct {
	// Dir is the store's folder; it is created where it is missing.
	Dir string
	// Owner is the unprivileged user that runs QEMU when root keeps the store; nil means the caller.
	Owner *Owner
	// MaxBytes bounds the disk space of all entries; 0 means DefaultMaxBytes.
	MaxBytes int64
	// Log gets what a developer may want to know later; nil means nowhere.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Store is a folder of saved labs. It is safe for concurrent use, and holds nothing open: there is no Close.
type Store struct {
	cfg Config
	log *slog.Logger
}

// The folders of a store. A reference is a file named by its key that holds the name of an entry and the digest of its
// manifest, so that neither can change unseen.
const (
	entriesDir = "entries"
	refsDir    = "refs"
	locksDir   = "locks"
	tmpDir     = "tmp"
)

const (
	manifestName = "manifest.json"
	lockName     = "lock"
)

// ErrAbsent says that the store has no entry for a key.
var ErrAbsent = errors.New("there is no such snapshot")

// DamagedError says what is wrong with an entry.
type DamagedError struct {
	Key string
	Err error
}

// Error tells key and cause.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("snapshot %s is damaged: %v", Short(e.Key), e.Err)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// Short is the beginning of a key, for people.
func Short(key string) string { return key[:min(len(key), 8)] }

var keyForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Open prepares the store's folder.
func Open(cfg Config) (*Store, error) {
	if !filepath.IsAbs(cfg.Dir) {
		return nil, fmt.Errorf("open snapshot store %q: give an absolute path", cfg.Dir)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	mode := os.FileMode(0o700)
	if cfg.Owner != nil {
		mode = 0o711 // another user has to reach what lies below
	}
	for _, sub := range []string{"", entriesDir, refsDir, locksDir, tmpDir} {
		if err := os.MkdirAll(s.path(sub), mode); err != nil {
			return nil, fmt.Errorf("open snapshot store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, parts...)...)
}

func (s *Store) entryDir(name string) string { return s.path(entriesDir, name) }
func (s *Store) refPath(key string) string   { return s.path(refsDir, key) }

// Entry is a saved lab in use: until Close, or until the process dies, the store keeps it. Its files are read-only.
type Entry struct {
	Manifest *Manifest
	dir      string
	used     *lock.Lock
}

// Path is where a file of the entry is.
func (e *Entry) Path(name string) string { return filepath.Join(e.dir, name) }

// Close tells the store that the entry is not in use any more. It is idempotent and nil-safe.
func (e *Entry) Close() error {
	if e == nil {
		return nil
	}
	return e.used.Close()
}

// Check reads the entry's files and compares them by size and CRC-32C. The error is a *DamagedError, or that of ctx. It may
// go on while the files are in use.
func (e *Entry) Check(ctx context.Context) error { return e.verify(ctx, quick) }

func (e *Entry) verify(ctx context.Context, how depth) error {
	err := e.check(ctx, how)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &DamagedError{Key: e.Manifest.Key, Err: err}
}

// Get takes the entry of a key into use. Without one the error is ErrAbsent, or a *RefusedError; what is damaged is a
// *DamagedError. The manifest is checked, the files are by Check.
func (s *Store) Get(ctx context.Context, key string) (*Entry, error) {
	name, digest, err := s.readRef(key)
	if errors.Is(err, ErrAbsent) {
		if refused := s.refusal(key); refused != nil {
			return nil, refused
		}
	}
	if err != nil {
		return nil, err
	}
	dir := s.entryDir(name)
	used, err := lock.WaitExisting(ctx, filepath.Join(dir, lockName), lock.Shared)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrAbsent // it was removed
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshot %s: %w", Short(key), err)
	}
	m, err := readManifest(filepath.Join(dir, manifestName), digest)
	if err == nil && m.Key != key {
		err = fmt.Errorf("its manifest is that of %s", Short(m.Key))
	}
	if err != nil {
		return nil, &DamagedError{Key: key, Err: errors.Join(err, used.Close())}
	}
	e := &Entry{Manifest: m, dir: dir, used: used}
	s.touch(e)
	return e, nil
}

// touch records the time of use on the entry's lock file, which is not part of what was saved.
func (s *Store) touch(e *Entry) {
	now := s.cfg.Now()
	if err := os.Chtimes(e.Path(lockName), now, now); err != nil {
		s.log.Debug("the time of a snapshot's use was not recorded", "key", e.Manifest.Key, "err", err)
	}
}

func (s *Store) readRef(key string) (name, digest string, err error) {
	if !keyForm.MatchString(key) {
		return "", "", fmt.Errorf("%q is no key of a snapshot", key)
	}
	data, err := os.ReadFile(s.refPath(key))
	if errors.Is(err, os.ErrNotExist) {
		return "", "", ErrAbsent
	}
	if err != nil {
		return "", "", fmt.Errorf("open snapshot %s: %w", Short(key), err)
	}
	fields := strings.Fields(string(data))
	if len(fields) != 2 || fields[0] != filepath.Base(fields[0]) || !strings.HasPrefix(fields[0], key) {
		return "", "", &DamagedError{Key: key, Err: fmt.Errorf("%s is no reference", s.refPath(key))}
	}
	return fields[0], fields[1], nil
}

// RefusedError says that the machines of a key could not be saved or restored when that was last tried.
type RefusedError struct{ Key, Reason string }

// Error tells the reason.
func (e *RefusedError) Error() string { return e.Reason + " (that was found out before)" }

// refusalLife is for how long nobody tries again. The reason may have been a busy host.
const refusalLife = time.Hour

const refusalSuffix = ".refused"

// Refuse has Get return a *RefusedError for an hour, so that not every start tries in vain. Commit takes it back.
func (s *Store) Refuse(key, reason string) error {
	if err := os.WriteFile(s.refPath(key)+refusalSuffix, []byte(reason), 0o600); err != nil {
		return fmt.Errorf("remember that snapshot %s cannot be made: %w", Short(key), err)
	}
	return nil
}

// refusal is nil unless the key was refused not long ago.
func (s *Store) refusal(key string) error {
	path := s.refPath(key) + refusalSuffix
	info, err := os.Stat(path)
	if err != nil || s.cfg.Now().Sub(info.ModTime()) > refusalLife {
		return nil //nolint:nilerr // what cannot be looked at refuses nothing.
	}
	reason, err := os.ReadFile(path)
	if err != nil || len(reason) == 0 { // it was not written to the end
		return nil //nolint:nilerr // likewise.
	}
	return &RefusedError{Key: key, Reason: string(reason)}
}

// dropRefusals removes those that no longer count.
func (s *Store) dropRefusals() error {
	paths, err := filepath.Glob(s.path(refsDir, "*"+refusalSuffix))
	for _, path := range paths {
		if s.refusal(strings.TrimSuffix(filepath.Base(path), refusalSuffix)) == nil {
			err = errors.Join(err, ignoreAbsent(os.Remove(path)))
		}
	}
	return err
}

// Discard makes the store forget the entry of a key. Who uses it keeps it; the files go when nobody does.
func (s *Store) Discard(ctx context.Context, key string) error {
	name, _, err := s.readRef(key)
	var damaged *DamagedError
	if errors.Is(err, ErrAbsent) {
		return nil
	}
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	if err := ignoreAbsent(os.Remove(s.refPath(key))); err != nil {
		return fmt.Errorf("discard snapshot %s: %w", Short(key), err)
	}
	if name == "" {
		return nil // the next GC finds what it led to
	}
	if err := s.removeEntry(ctx, name); err != nil && !errors.Is(err, lock.ErrBusy) {
		return fmt.Errorf("discard snapshot %s: %w", Short(key), err)
	}
	return nil
}
