// Package room gives specs folders of their own on the host, and finds what labs have left in them.
package room

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
)

// Room is a run, a state and, with Furnish, a cache folder of a spec's own: it sees only what it left itself, and disturbs
// nobody. It goes with its spec or container.
type Room struct{ Root, Run, State, Cache string }

// New makes a room that shares the cache with everybody.
func New() Room {
	ginkgo.GinkgoHelper()
	root, err := os.MkdirTemp("", "lt") // short: socket paths end at 107 bytes
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	ginkgo.DeferCleanup(os.RemoveAll, root)
	gomega.Expect(os.Chmod(root, 0o711)).To(gomega.Succeed(), "QEMU runs as another user when we are root")
	return Room{Root: root, Run: filepath.Join(root, "r"), State: filepath.Join(root, "s")}
}

// Env is what programs need to use the room.
func (r Room) Env() []string {
	env := []string{
		"LABTEST_RUN_DIR=" + r.Run, "LABTEST_STATE_DIR=" + r.State, "LABTEST_ARTIFACTS=" + filepath.Join(r.Root, "a"), "LABTEST_WARM=on",
	}
	if r.Cache != "" {
		env = append(env, "LABTEST_CACHE_DIR="+r.Cache)
	}
	return env
}

// Enter makes this process use the room until the end of the spec or container. Its evidence goes where it would go anyway.
func (r Room) Enter() {
	ginkgo.GinkgoHelper()
	for _, variable := range r.Env() {
		name, value, _ := strings.Cut(variable, "=")
		if name == "LABTEST_ARTIFACTS" {
			continue
		}
		before, set := os.LookupEnv(name)
		gomega.Expect(os.Setenv(name, value)).To(gomega.Succeed())
		ginkgo.DeferCleanup(func() error {
			if set {
				return os.Setenv(name, before)
			}
			return os.Unsetenv(name)
		})
	}
}

// Shared is the cache folder that everybody uses.
func Shared() string {
	if dir := os.Getenv("LABTEST_CACHE_DIR"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/cache/labtest"
	}
	home, err := os.UserCacheDir()
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	return filepath.Join(home, "labtest")
}

// Furnish gives the room a cache folder with the images and snapshots of the shared one, by hard links where it can: nothing
// large is copied, and what is removed here stays there. Locks are new files: a lock on a linked file would be everybody's.
func (r Room) Furnish() Room {
	ginkgo.GinkgoHelper()
	r.Cache = filepath.Join(r.Root, "c")
	for _, store := range []string{"images", "capabilities", "snapshots"} {
		gomega.Expect(link(filepath.Join(Shared(), store), filepath.Join(r.Cache, store))).To(gomega.Succeed())
	}
	return r
}

// link makes dst like src.
func link(src, dst string) error {
	return filepath.WalkDir(src, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has just gone
		}
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, relative)
		switch {
		case entry.IsDir() && (entry.Name() == "tmp" || entry.Name() == "downloads"): // others' work in progress
			return fs.SkipDir
		case entry.IsDir():
			return sameFolder(path, to)
		case entry.Name() == "lock" || filepath.Base(filepath.Dir(path)) == "locks":
			return os.WriteFile(to, nil, 0o600)
		}
		return linkFile(path, to)
	})
}

func sameFolder(src, dst string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o711); err != nil {
		return err
	}
	return errors.Join(os.Chmod(dst, info.Mode().Perm()), chownAs(info, dst))
}

// small files are copied: some are written in place.
const small = 64 << 10

func linkFile(src, dst string) error {
	info, err := os.Stat(src)
	if err == nil && info.Size() > small {
		if err = os.Link(src, dst); err == nil {
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return Own(src, dst)
}

// Own puts a copy of a file at dst, with its mode, owner and times, in place of what is there. A spec that damages a file
// makes it its own first.
func Own(src, dst string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	copied := dst + ".own"
	return errors.Join(os.WriteFile(copied, data, 0o600), os.Chmod(copied, info.Mode().Perm()), chownAs(info, copied),
		os.Chtimes(copied, info.ModTime(), info.ModTime()), os.Rename(copied, dst))
}

// Damage changes a file that may be shared with others, who keep theirs.
func Damage(path string, harm func([]byte) []byte) {
	ginkgo.GinkgoHelper()
	gomega.Expect(Own(path, path)).To(gomega.Succeed())
	text, err := os.ReadFile(path)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	info, err := os.Stat(path)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	gomega.Expect(os.Chmod(path, 0o600)).To(gomega.Succeed())
	gomega.Expect(os.WriteFile(path, harm(text), 0o600)).To(gomega.Succeed())
	gomega.Expect(os.Chmod(path, info.Mode().Perm())).To(gomega.Succeed())
}

// FlipBit changes one bit in the middle.
func FlipBit(text []byte) []byte { text[len(text)/2] ^= 1; return text }

// CutOff leaves the first half.
func CutOff(text []byte) []byte { return text[:len(text)/2] }

// Snapshot is the folder of the snapshot in the room that was used last.
func (r Room) Snapshot() string {
	ginkgo.GinkgoHelper()
	locks, err := filepath.Glob(filepath.Join(r.Cache, "snapshots", "entries", "*", "lock"))
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	newest, at := "", time.Time{}
	for _, path := range locks {
		info, err := os.Stat(path)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		if info.ModTime().After(at) {
			newest, at = filepath.Dir(path), info.ModTime()
		}
	}
	return newest
}
