package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestEnsureBuildsOnceAndThenOnlyOpens(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	img := ensure(t, s, "debian-12")
	g.Expect(tools.count()).To(Equal(1))
	g.Expect(img.Firmware).To(Equal(BIOS))
	g.Expect(img.Format).To(Equal("qcow2"))
	g.Expect(img.VirtualSize).To(Equal(int64(4 << 30)))
	g.Expect(img.Cmdline).To(ContainSubstring("console=ttyS0"))
	g.Expect(img.Digest).To(MatchRegexp(`^sha256:[0-9a-f]{64}$`))
	g.Expect(img.PackagesBaked).To(BeTrue())
	for _, path := range []string{img.Disk, img.Kernel, img.Initrd, img.Manifest} {
		st, err := os.Stat(path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(st.Mode().Perm()).To(Equal(os.FileMode(0o444)), path)
	}
	st, err := os.Stat(filepath.Dir(img.Disk))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(st.Mode().Perm()).To(Equal(os.FileMode(0o755)))

	calls := len(tools.calls)
	again := ensure(t, s, "debian-12")
	g.Expect(again.Digest).To(Equal(img.Digest))
	g.Expect(tools.calls).To(HaveLen(calls), "a present image needs no tool and no network")
	left, err := os.ReadDir(s.path(tmpDir))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty())
}

func TestDerivedImagesAreBuiltOnTheBaseAndCachedByContent(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	img := ensure(t, s, "debian-12", "curl", "jq", "curl")
	g.Expect(img.PackagesBaked).To(BeTrue())
	g.Expect(img.Packages).To(Equal([]string{"curl", "jq"}))
	g.Expect(tools.count()).To(Equal(2), "the base and the packages")
	same := ensure(t, s, "debian-12", "jq", "curl")
	g.Expect(same.Digest).To(Equal(img.Digest), "order does not matter")
	ensure(t, s, "debian-12", "jq")
	g.Expect(tools.count()).To(Equal(3))

	rebuilt, err := s.Build(t.Context(), Request{Name: "debian-12"})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(rebuilt.Close()).To(Succeed()) }()
	g.Expect(tools.count()).To(Equal(4))
	newer := ensure(t, s, "debian-12", "jq", "curl")
	g.Expect(newer.Digest).NotTo(Equal(img.Digest), "a new base makes derived images stale")
	g.Expect(img.Disk).To(BeAnExistingFile(), "who uses the old one keeps it")
}

func TestDerivedImageOutlivesItsBase(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	img := ensure(t, s, "debian-12", "jq")
	objects, err := s.objects()
	g.Expect(err).NotTo(HaveOccurred())
	for _, o := range objects {
		if s.objectDir(o.id) != img.dir {
			_, err := s.removeObject(t.Context(), o, GCOptions{})
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	ensure(t, s, "debian-12", "jq")
	g.Expect(tools.count()).To(Equal(2))
}

func TestUnknownPackagesAreNamed(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	tools.missing = []string{"rustdesk", "nope"}
	_, err := s.Ensure(t.Context(), Request{Name: "debian-12", Packages: []string{"jq", "rustdesk", "nope"}})
	var missing *MissingPackagesError
	g.Expect(errors.As(err, &missing)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring(`packages "rustdesk", "nope" are not in Debian bookworm, which image "debian-12" is built from`)))
	g.Expect(err).To(MatchError(ContainSubstring("deploy")))

	_, err = s.Ensure(t.Context(), Request{Name: "debian-12", Packages: []string{"--force", "a b"}})
	g.Expect(err).To(MatchError(ContainSubstring(`"--force", "a b": not a name of a Debian package`)))
}

func TestManyCallersOneBuild(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	tools.gate = make(chan struct{})
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			img, err := s.Ensure(t.Context(), Request{Name: "debian-12"})
			errs[i] = errors.Join(err, img.Close())
		})
	}
	close(tools.gate)
	wg.Wait()
	g.Expect(errors.Join(errs...)).NotTo(HaveOccurred())
	g.Expect(tools.count()).To(Equal(1))
}

func TestWaitingNamesTheBuilderAndEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	var mu sync.Mutex
	var notes []string
	s, tools := newStore(t, func(c *Config) {
		c.Progress = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Stage == "wait" {
				notes = append(notes, e.Note)
			}
		}
	})
	src, err := s.resolve("debian-12")
	g.Expect(err).NotTo(HaveOccurred())
	other, err := hold(t.Context(), s.fillLock(src.key), src.doing, nil)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	_, err = s.Ensure(ctx, Request{Name: "debian-12"})
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(MatchRegexp(`image "debian-12": wait to go on with: building debian-12: .*in use: process \d+ is at: building debian-12`)))
	mu.Lock()
	g.Expect(notes).To(ConsistOf(MatchRegexp(`^process \d+ is at: building debian-12$`)))
	mu.Unlock()
	g.Expect(other.Close()).To(Succeed())
	ensure(t, s, "debian-12")
	g.Expect(tools.count()).To(Equal(1))
}

func TestAFailedBuildLeavesNothingAndTellsTheToolsLastLines(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	tools.fail = &toolError{tool: "unshare", err: exitError(1), tail: []string{"E: Unable to fetch some archives"}}
	_, err := s.Ensure(t.Context(), Request{Name: "debian-12"})
	g.Expect(err).To(MatchError(ContainSubstring("image \"debian-12\": build: unshare: exit status 1; its last lines:\n  E: Unable to fetch some archives")))
	for _, dir := range []string{tmpDir, objectsDir, refsDir} {
		left, err := os.ReadDir(s.path(dir))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(left).To(BeEmpty(), dir)
	}
	ensure(t, s, "debian-12")
}

func TestAFullDiskSaysWhatToDo(t *testing.T) {
	s, tools := newStore(t, nil)
	tools.fail = unix.ENOSPC
	_, err := s.Ensure(t.Context(), Request{Name: "debian-12"})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("no space left on device: free some space in " + s.cfg.Dir)))
}

func TestMissingToolsAreNamedWithTheirPackages(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	s.osRelease = "ID=debian\n"
	tools.absent = map[string]bool{"mmdebstrap": true, "qemu-img": true}
	_, err := s.Ensure(t.Context(), Request{Name: "debian-12"})
	g.Expect(err).To(MatchError(ContainSubstring("mmdebstrap is not installed: sudo apt-get install mmdebstrap")))
	g.Expect(err).To(MatchError(ContainSubstring("qemu-img is not installed: sudo apt-get install qemu-utils")))

	tools.absent = nil
	s.keyring = "/nonexistent/keyring.gpg"
	_, err = s.Ensure(t.Context(), Request{Name: "debian-12"})
	g.Expect(err).To(MatchError(ContainSubstring("/nonexistent/keyring.gpg is missing: sudo apt-get install debian-archive-keyring")))
}

func TestUnknownNamesListTheKnown(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	_, err := s.Ensure(t.Context(), Request{Name: "debain-12"})
	g.Expect(err).To(MatchError(ContainSubstring(`image "debain-12": not known; known are debian-12, debian-12-cloudimg,`)))
	s.cfg.Arch = "riscv64"
	_, err = s.Ensure(t.Context(), Request{Name: "ubuntu-22.04-cloudimg"})
	g.Expect(err).To(MatchError(ContainSubstring("the catalog has it for amd64, not for riscv64")))
}

func TestADamagedImageIsMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(img *Image) error{
		"truncated":        func(img *Image) error { return os.Truncate(img.Disk, 10) },
		"file lost":        func(img *Image) error { return os.Remove(img.Kernel) },
		"description lost": func(img *Image) error { return os.Remove(filepath.Join(img.dir, metaFile)) },
		"folder lost":      func(img *Image) error { return os.RemoveAll(img.dir) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s, tools := newStore(t, nil)
			img, err := s.Ensure(t.Context(), Request{Name: "debian-12"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(img.Close()).To(Succeed())
			g.Expect(os.Chmod(img.Disk, 0o644)).To(Succeed())
			g.Expect(damage(img)).To(Succeed())
			again := ensure(t, s, "debian-12")
			g.Expect(tools.count()).To(Equal(2))
			g.Expect(again.meta.checkSizes(again.dir)).To(Succeed())
		})
	}
}

func TestVerifyFindsAFlippedBit(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	img := ensure(t, s, "debian-12")
	g.Expect(s.Verify(t.Context(), "debian-12")).To(Succeed())
	text, err := os.ReadFile(img.Disk)
	g.Expect(err).NotTo(HaveOccurred())
	text[5000] ^= 1
	g.Expect(os.Chmod(img.Disk, 0o644)).To(Succeed())
	g.Expect(os.WriteFile(img.Disk, text, 0o644)).To(Succeed())
	err = s.Verify(t.Context(), "debian-12")
	g.Expect(err).To(MatchError(MatchRegexp(`verify image "debian-12": .*disk.qcow2 has sha256 [0-9a-f]{64}, was made with [0-9a-f]{64}; make it anew: labtest image rm debian-12`)))
	g.Expect(s.Verify(t.Context(), "fedora-43-cloudimg")).To(MatchError(ContainSubstring("is not in the store")))
}

func TestNamesOpenNothing(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "none")
	names, err := Names(Config{Dir: dir})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names).To(ContainElements("debian-12", "ubuntu-22.04-cloudimg"))
	g.Expect(dir).NotTo(BeADirectory())
}

func TestTheOwnerOfTheMachinesMustReachTheStore(t *testing.T) {
	g := NewWithT(t)
	closed := filepath.Join(t.TempDir(), "closed")
	g.Expect(os.Mkdir(closed, 0o700)).To(Succeed())
	_, err := Open(Config{Dir: filepath.Join(closed, "images"), Owner: &Owner{UID: 64055, GID: 64055}})
	g.Expect(err).To(MatchError(ContainSubstring("user 64055 cannot enter " + closed + " (mode 0700)")))
	for mode, enters := range map[os.FileMode]bool{0o711: true, 0o700: false, 0o754: false, 0o701: true} {
		g.Expect(os.Chmod(closed, mode)).To(Succeed())
		st, err := os.Stat(closed)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(mayEnter(st, Owner{UID: 64055, GID: 64055})).To(Equal(enters), mode.String())
	}
}
