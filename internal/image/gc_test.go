package image

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// filledStore has debian-12 and derived images used at different times, all closed.
func filledStore(t *testing.T, packages ...string) (*Store, *clock) {
	t.Helper()
	g := NewWithT(t)
	at := &clock{now: time.Now()}
	s, _ := newStore(t, func(c *Config) { c.Now = at.Now })
	for _, p := range packages {
		at.advance(time.Hour)
		img, err := s.Ensure(t.Context(), Request{Name: "debian-12", Packages: []string{p}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(img.Close()).To(Succeed())
	}
	return s, at
}

func present(t *testing.T, s *Store) []string {
	t.Helper()
	list, err := s.List()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, i := range list {
		if i.Present {
			name := i.Name
			if len(i.Packages) > 0 {
				name = i.Packages[0]
			}
			out = append(out, name)
		}
	}
	return out
}

func TestEvictionTakesTheLeastRecentlyUsedAndNoneInUse(t *testing.T) {
	g := NewWithT(t)
	s, at := filledStore(t, "aa", "bb", "cc")
	at.advance(time.Hour)
	used := ensure(t, s, "debian-12", "bb")
	at.advance(time.Hour)
	g.Expect(present(t, s)).To(ConsistOf("debian-12", "aa", "bb", "cc"))
	objects, err := s.objects()
	g.Expect(err).NotTo(HaveOccurred())
	each := objects[0].bytes
	s.cfg.MaxBytes = 3*each + each/2
	gone, err := s.Evict(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(gone).To(HaveLen(1))
	g.Expect(gone[0].What).To(Equal(`image "debian-12"`))
	g.Expect(present(t, s)).To(ConsistOf("debian-12", "bb", "cc"), "aa was used first, the base with cc")

	s.cfg.MaxBytes = 1
	dry, err := s.GC(t.Context(), GCOptions{DryRun: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dry).To(HaveLen(2))
	g.Expect(present(t, s)).To(HaveLen(3), "a dry run removes nothing")
	_, err = s.Evict(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(present(t, s)).To(ConsistOf("bb"))
	g.Expect(used.Disk).To(BeAnExistingFile())
	g.Expect(used.Close()).To(Succeed())
	g.Expect(used.Close()).To(Succeed(), "Close is idempotent")
	_, err = s.Evict(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(present(t, s)).To(BeEmpty())
}

func TestImportedImagesAreNeverEvicted(t *testing.T) {
	g := NewWithT(t)
	s, _ := filledStore(t)
	img, err := s.Import(t.Context(), disk(t, "mine"), ImportOptions{Name: "mine"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(img.Close()).To(Succeed())
	s.cfg.MaxBytes = 1
	gone, err := s.GC(t.Context(), GCOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(gone).To(BeEmpty())
	g.Expect(present(t, s)).To(ConsistOf("mine"))
}

func TestGCRemovesWhatDeadProcessesLeftAndNothingElse(t *testing.T) {
	g := NewWithT(t)
	s, _ := filledStore(t, "aa")
	alive, err := s.newWorkspace(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	dead, err := s.newWorkspace(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dead.alive.Close()).To(Succeed(), "as the kernel does when a process dies")
	orphan := s.path(tmpDir, "fill-orphan.lock")
	g.Expect(os.WriteFile(orphan, nil, 0o600)).To(Succeed())
	stray := s.objectDir("0123456789012345678901234567890123456789")
	g.Expect(os.Mkdir(stray, 0o755)).To(Succeed())
	old := s.downloadPath("download-old")
	g.Expect(os.WriteFile(old, []byte("x"), 0o600)).To(Succeed())
	g.Expect(os.Chtimes(old, time.Time{}, time.Now().Add(-2*partMaxAge))).To(Succeed())
	recent := s.downloadPath("download-recent")
	g.Expect(os.WriteFile(recent, []byte("x"), 0o600)).To(Succeed())

	gone, err := s.GC(t.Context(), GCOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	var paths []string
	for _, r := range gone {
		paths = append(paths, r.Path)
	}
	g.Expect(paths).To(ConsistOf(dead.dir, s.path(tmpDir, "fill-orphan"), stray, old))
	g.Expect(alive.dir).To(BeADirectory())
	g.Expect(recent).To(BeAnExistingFile())
	for _, path := range []string{dead.dir, dead.dir + ".lock", orphan, stray, old} {
		g.Expect(exists(path)).To(BeFalse(), path)
	}
	g.Expect(present(t, s)).To(ConsistOf("debian-12", "aa"))
	g.Expect(alive.close(t.Context())).To(Succeed())
}

func TestRemoveRefusesAnImageInUse(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	img := ensure(t, s, "debian-12")
	g.Expect(s.Remove(t.Context(), "debian-12")).To(MatchError(ContainSubstring(`remove image "debian-12": it is in use by a running lab`)))
	g.Expect(img.Close()).To(Succeed())
	g.Expect(s.Remove(t.Context(), "debian-12")).To(Succeed())
	g.Expect(present(t, s)).To(BeEmpty())
	g.Expect(s.Remove(t.Context(), "debian-12")).To(MatchError(ContainSubstring("is not in the store")))
}

func TestListShowsTheCatalogAndWhatIsPresent(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	ensure(t, s, "debian-12", "jq")
	list, err := s.List()
	g.Expect(err).NotTo(HaveOccurred())
	byName := map[string]Info{}
	for _, i := range list {
		byName[filepath.Join(append([]string{i.Name}, i.Packages...)...)] = i
	}
	g.Expect(byName["ubuntu-22.04-cloudimg"]).To(And(HaveField("Present", false), HaveField("Kind", KindDownload)))
	g.Expect(byName["debian-12"]).To(And(HaveField("Present", true), HaveField("InUse", false), HaveField("Kind", KindRecipe), HaveField("Bytes", BeNumerically(">", 0))))
	g.Expect(byName["debian-12/jq"]).To(And(HaveField("Present", true), HaveField("InUse", true), HaveField("Kind", KindDerived)))
}
