package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/lock"
)

// leave makes what the owner of a lab left behind by dying: its folders, with the lock free.
func leave(t testing.TB, dirs Dirs, id string) {
	t.Helper()
	g := NewWithT(t)
	for _, dir := range []string{filepath.Join(dirs.Run, id), filepath.Join(dirs.State, id, "disks")} {
		g.Expect(os.MkdirAll(dir, 0o700)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, "lock"), make([]byte, 8192), 0o600)).To(Succeed())
	}
}

func ids(found []Leftover) []string {
	var out []string
	for _, l := range found {
		out = append(out, l.ID)
	}
	return out
}

func TestGCRemovesWhatTheDeadLeftAndNothingElse(t *testing.T) {
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	dirs := b.cfg.Dirs
	leave(t, dirs, "00dead")
	g.Expect(os.MkdirAll(filepath.Join(dirs.State, "11dead"), 0o700)).To(Succeed()) // as after a restart of the host
	g.Expect(os.MkdirAll(filepath.Join(dirs.Run, "22dead"), 0o700)).To(Succeed())   // as of one that died at once
	foreign := []string{
		filepath.Join(dirs.Run, "README"), filepath.Join(dirs.Run, "abcdeg"), filepath.Join(dirs.Run, "abcdef0"),
		filepath.Join(dirs.State, "ABCDEF"), filepath.Join(dirs.State, "my disk"), filepath.Join(dirs.State, "123456"),
	}
	for i, path := range foreign {
		if i == 0 || i == len(foreign)-1 {
			g.Expect(os.WriteFile(path, nil, 0o600)).To(Succeed())
			continue
		}
		g.Expect(os.Mkdir(path, 0o700)).To(Succeed())
	}
	t.Cleanup(func() {
		for _, path := range foreign {
			_ = os.RemoveAll(path)
		}
	})

	dry, err := GC(within(t), dirs, GCDryRun)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(dry)).To(ConsistOf("00dead", "11dead", "22dead"))
	for _, l := range dry {
		for _, path := range l.Paths {
			g.Expect(path).To(BeADirectory(), "a dry run removes nothing")
		}
		if l.ID == "00dead" {
			g.Expect(l.Paths).To(ConsistOf(filepath.Join(dirs.Run, l.ID), filepath.Join(dirs.State, l.ID)))
			g.Expect(l.Bytes).To(BeNumerically(">=", 16384))
		}
	}
	found, err := GC(within(t), dirs, GCRemove)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(found)).To(ConsistOf("00dead", "11dead", "22dead"))
	for _, l := range found {
		for _, path := range l.Paths {
			g.Expect(path).NotTo(BeAnExistingFile())
		}
	}
	for _, path := range foreign {
		g.Expect(path).To(Or(BeADirectory(), BeARegularFile()))
	}
	g.Expect(bootOf(t, b.node("alice"))).NotTo(BeEmpty(), "the living lab is well")
	g.Expect(GC(within(t), dirs, GCRemove)).To(BeEmpty())
}

func TestGCWithoutFolders(t *testing.T) {
	g := NewWithT(t)
	dirs := testDirs(t)
	g.Expect(GC(within(t), dirs, GCDryRun)).To(BeEmpty())
	g.Expect(filepath.Dir(dirs.Run)).To(BeADirectory())
	g.Expect(dirs.Run).NotTo(BeAnExistingFile(), "a dry run makes nothing")
	leave(t, dirs, "00dead")
	g.Expect(os.RemoveAll(dirs.Run)).To(Succeed()) // a tmpfs: gone with the last boot of the host
	dry, err := GC(within(t), dirs, GCDryRun)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(dry)).To(ConsistOf("00dead"))
	g.Expect(dirs.Run).NotTo(BeAnExistingFile())
	found, err := GC(within(t), dirs, GCRemove)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(found)).To(ConsistOf("00dead"))
	g.Expect(files(t, dirs)).To(BeEmpty())
	g.Expect(os.RemoveAll(dirs.State)).To(Succeed())
	g.Expect(GC(within(t), dirs, GCDryRun)).To(BeEmpty())
}

func TestGCKeepsALabWhoseLockCannotBeTried(t *testing.T) {
	g := NewWithT(t)
	dirs := testDirs(t)
	leave(t, dirs, "00dead")
	lock := filepath.Join(dirs.Run, "00dead", "lock")
	g.Expect(os.Remove(lock)).To(Succeed())
	g.Expect(os.Mkdir(lock, 0o700)).To(Succeed()) // cannot be opened as a file, whoever we are
	found, err := GC(within(t), dirs, GCRemove)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(BeEmpty(), "when in doubt it lives")
}

func TestGCWaitsForWhoMakesALab(t *testing.T) {
	g := NewWithT(t)
	dirs := testDirs(t)
	g.Expect(dirs.create()).To(Succeed())
	held, err := lock.Try(filepath.Join(dirs.Run, ".lock"), lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	held.Sign("makes a lab")
	defer held.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = GC(ctx, dirs, GCRemove)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(And(HavePrefix("another labtest makes or removes labs: wait for lock "+dirs.Run+"/.lock: "),
		MatchRegexp(`in use: process \d+ makes a lab$`))))
	_, err = makeHome(ctx, dirs)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(files(t, dirs)).To(BeEmpty())
}

func TestHomesAndGCAtOnce(t *testing.T) {
	g := NewWithT(t)
	dirs := testDirs(t)
	ctx := within(t)
	var all, gcs sync.WaitGroup
	over := make(chan struct{})
	for range 2 {
		gcs.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				_, err := GC(ctx, dirs, GCRemove)
				NewWithT(t).Expect(err).NotTo(HaveOccurred())
			}
		})
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 16 {
		all.Go(func() {
			g := NewWithT(t)
			for range 4 {
				h, err := makeHome(ctx, dirs)
				g.Expect(err).NotTo(HaveOccurred())
				mu.Lock()
				g.Expect(seen[h.id]).To(BeFalse(), "two labs of one name")
				seen[h.id] = true
				mu.Unlock()
				file := filepath.Join(h.state, "disk")
				g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
				found, err := FindOne(dirs, h.id)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(found.ID).To(Equal(h.id))
				g.Expect(file).To(BeARegularFile(), "GC took a living lab's files")
				g.Expect(h.Close()).To(Succeed())
				g.Expect(h.run).NotTo(BeAnExistingFile())
				g.Expect(h.state).NotTo(BeAnExistingFile())
			}
		})
	}
	all.Wait()
	close(over)
	gcs.Wait()
	g.Expect(seen).To(HaveLen(64))
	g.Expect(files(t, dirs)).To(BeEmpty())
	g.Expect((*home)(nil).Close()).To(Succeed())
}

func TestDirsOfSomebodyElseAreRefused(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(root, "file"), nil, 0o600)).To(Succeed())
	err := Dirs{Run: filepath.Join(root, "file"), State: root, Cache: root}.create()
	g.Expect(err).To(MatchError(ContainSubstring("(LABTEST_RUN_DIR, LABTEST_STATE_DIR and LABTEST_CACHE_DIR choose others)")))
	link := filepath.Join(root, "link")
	g.Expect(os.Symlink(t.TempDir(), link)).To(Succeed())
	err = Dirs{Run: link, State: root, Cache: root}.create()
	g.Expect(err).To(MatchError(link+" belongs to somebody else: remove it, or set LABTEST_RUN_DIR"), "/tmp is everybody's: a link may lead anywhere")
}

func TestDefaultDirsFollowTheEnvironment(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("LABTEST_RUN_DIR", "/x/run/")
	t.Setenv("LABTEST_STATE_DIR", "/x/state")
	t.Setenv("LABTEST_CACHE_DIR", "/x/cache")
	g.Expect(DefaultDirs()).To(Equal(Dirs{Run: "/x/run", State: "/x/state", Cache: "/x/cache"}))
	t.Setenv("LABTEST_STATE_DIR", "state")
	_, err := DefaultDirs()
	g.Expect(err).To(MatchError(`LABTEST_STATE_DIR="state": give an absolute path`))
}

func TestUserDirsFollowXDG(t *testing.T) {
	g := NewWithT(t)
	runtime := t.TempDir()
	t.Setenv("HOME", "/home/me")
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("XDG_STATE_HOME", "/xdg/state")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("LABTEST_STATE_DIR", "")
	g.Expect(userDirs()).To(Equal(Dirs{Run: runtime + "/labtest", State: "/xdg/state/labtest", Cache: "/home/me/.cache/labtest"}))
	t.Setenv("XDG_RUNTIME_DIR", "/nonexistent")
	t.Setenv("XDG_STATE_HOME", "relative")
	dirs, err := userDirs()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dirs.Run).To(HavePrefix("/tmp/labtest-"))
	g.Expect(dirs.State).To(Equal("/home/me/.local/state/labtest"))
	t.Setenv("HOME", "")
	_, err = userDirs()
	g.Expect(err).To(MatchError(HaveSuffix("(set HOME, or LABTEST_STATE_DIR and LABTEST_CACHE_DIR)")))
}

func TestIDs(t *testing.T) {
	g := NewWithT(t)
	for name, want := range map[string]bool{
		"0a1b2c": true, "abcdef": true, "": false, "abcde": false, "abcdef0": false, "abcdeg": false, "ABCDEF": false,
		"abc/ef": false, strings.Repeat("a", 6): true,
	} {
		g.Expect(isID(name)).To(Equal(want), name)
	}
	g.Expect(newUUID()).To(MatchRegexp(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`))
	g.Expect(errors.Is(ErrOff, ErrClosed)).To(BeFalse())
}
