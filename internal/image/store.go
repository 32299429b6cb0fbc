package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ionlab/internal/lock"
)

// DefaultMaxBytes bounds a store whose Config names no bound: 20 GiB.
const DefaultMaxBytes = 20 << 30

// Owner is a user of the host.
type Owner struct{ UID, GID int }

// Config says where a store is and what it may use. Only Dir is required.
type Config struct {
	// Dir is the store's folder; it is created where it is missing.
	Dir string
	// Log gets what a developer may want to know later; nil means nowhere.
	Log *slog.Logger
	// Arch is the guests' architecture by Go's name; empty means the host's.
	Arch string
	// MaxBytes bounds the disk space of images that can be had again; 0 means DefaultMaxBytes.
	MaxBytes int64
	// Catalog is the path of the user's catalog; the file need not exist.
	Catalog string
	// HTTP downloads images; nil means a client that honours HTTPS_PROXY and gives up on a silent server.
	HTTP *http.Client
	// Owner is the unprivileged user who must be able to read the images when root keeps the store; nil means the caller.
	Owner *Owner
	// Progress gets events, rate-limited; it may be called by several goroutines, and must not block for long.
	Progress func(Event)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Store is a folder of images shared by processes. It is safe for concurrent use, and holds nothing open: there is no Close.
type Store struct {
	cfg       Config
	log       *slog.Logger
	http      *http.Client
	run       runner
	osRelease string
	euid      int
	aptDir    string
	keyring   string
	retry     time.Duration
	entries   []Entry
}

// Open prepares the store's folder and reads the catalog. It does not touch the network.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open image store: no folder given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	cfg.Dir = dir
	if cfg.Arch == "" {
		cfg.Arch = runtime.GOARCH
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	entries, err := Entries(cfg.Catalog)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s := &Store{cfg: cfg, log: cfg.Log, http: cfg.HTTP, run: hostRunner{}, euid: os.Geteuid(), aptDir: "/etc/apt", keyring: debianKeyring, retry: retryAfter, entries: entries}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.http == nil {
		s.http = defaultClient()
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		s.osRelease = string(text)
	}
	return s, s.prepare()
}

// The folders of a store.
const (
	objectsDir   = "objects"
	refsDir      = "refs"
	locksDir     = "locks"
	tmpDir       = "tmp"
	downloadsDir = "downloads"
	debsDir      = "debs"
)

func (s *Store) prepare() error {
	for _, sub := range []string{objectsDir, refsDir, locksDir, tmpDir, downloadsDir, debsDir, checkedDir} {
		if err := os.MkdirAll(s.path(sub), 0o755); err != nil {
			return fmt.Errorf("open image store: %w (is the folder another user's? Give one of your own, or correct its owner)", err)
		}
	}
	// A umask of 077 must not lock the owner of the machines out.
	for _, sub := range []string{"", objectsDir} {
		if err := s.openUp(s.path(sub)); err != nil {
			return fmt.Errorf("open image store: %w", err)
		}
	}
	return s.checkReach()
}

func (s *Store) openUp(dir string) error {
	st, err := os.Stat(dir)
	if err != nil || st.Mode().Perm()&0o055 == 0o055 {
		return err
	}
	if err := os.Chmod(dir, st.Mode().Perm()|0o755); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, parts...)...)
}

func (s *Store) objectDir(id string) string      { return s.path(objectsDir, id) }
func (s *Store) refPath(key string) string       { return s.path(refsDir, key+".json") }
func (s *Store) objectLock(id string) string     { return s.path(locksDir, "object-"+id) }
func (s *Store) fillLock(key string) string      { return s.path(locksDir, "fill-"+key) }
func (s *Store) downloadPath(key string) string  { return s.path(downloadsDir, key+".part") }
func (s *Store) entry(name string) (Entry, bool) { return findEntry(s.entries, name) }

func findEntry(entries []Entry, name string) (Entry, bool) {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return Entry{}, false
	}
	return entries[i], true
}

// Names returns the names that Ensure knows without a path or URL: the catalog's and those of imported images, sorted. It
// opens nothing and creates nothing.
func Names(cfg Config) ([]string, error) {
	entries, err := Entries(cfg.Catalog)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if cfg.Dir != "" {
		refs, err := readRefs(filepath.Join(cfg.Dir, refsDir))
		if err != nil {
			return nil, err
		}
		for _, r := range refs {
			if r.Kind == KindImport {
				names = append(names, r.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// readRefs returns all readable references by key; a folder that does not exist has none.
func readRefs(dir string) (map[string]ref, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the references of the image store: %w", err)
	}
	refs := map[string]ref{}
	for _, f := range files {
		key, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		var r ref
		if err := readJSON(filepath.Join(dir, f.Name()), &r); err == nil {
			refs[key] = r // an unreadable one is as good as absent: the image is made again
		}
	}
	return refs, nil
}

// waitFill takes the lock under which the reference is filled.
func (s *Store) waitFill(ctx context.Context, key, doing string, rep *reporter) (*lock.Lock, error) {
	return hold(ctx, s.fillLock(key), doing, s.waiting(rep))
}

// hold takes the lock at path, waiting for its holder, and tells those who then wait what this process will do with it.
func hold(ctx context.Context, path, doing string, waiting func(holder string)) (*lock.Lock, error) {
	held, err := lock.Wait(ctx, path, lock.Exclusive, waiting)
	if err != nil {
		return nil, fmt.Errorf("wait to go on with: %s: %w", doing, err)
	}
	held.Sign("is at: " + doing)
	return held, nil
}

func (s *Store) waiting(rep *reporter) func(string) {
	return func(holder string) {
		s.log.Info("waiting for another process to finish its work on the image", "image", rep.image, "holder", holder)
		rep.begin("wait", holder)
	}
}
