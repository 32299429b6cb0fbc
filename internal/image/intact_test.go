package image

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// damage changes a closed image's file.
func damage(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Chmod(path, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(path, change(text), 0o600)).To(Succeed())
}

func flipped(text []byte) []byte { text[len(text)/2] ^= 1; return text }
func cut(text []byte) []byte     { return text[:len(text)/2] }

func TestAChangedBitIsNoticedAndTheImageMadeAgain(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{"one bit": flipped, "truncated": cut} {
		for _, file := range []string{diskFile, kernelFile, initrdFile, archiveFile, metaFile} {
			t.Run(name+" of "+file, func(t *testing.T) {
				g := NewWithT(t)
				s, tools := newStore(t, nil)
				img, err := s.Ensure(t.Context(), Request{Name: "debian-12"})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(img.Close()).To(Succeed())
				damage(t, filepath.Join(img.dir, file), change)
				again := ensure(t, s, "debian-12")
				g.Expect(tools.count()).To(Equal(2), "it was built again")
				g.Expect(s.Verify(t.Context(), "debian-12")).To(Succeed())
				ensure(t, s, "debian-12")
				g.Expect(tools.count()).To(Equal(2))
				g.Expect(again.Disk).To(BeARegularFile())
				g.Expect(again.dir).NotTo(Equal(img.dir), "the fake builder makes another disk each time")
				g.Expect(img.dir).NotTo(BeADirectory())
			})
		}
	}
}

func TestDamagedFilesStayWhileANodeHasThemOpen(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	img, err := s.Ensure(t.Context(), Request{Name: "debian-12"})
	g.Expect(err).NotTo(HaveOccurred())
	damage(t, img.Disk, flipped)
	ensure(t, s, "debian-12")
	g.Expect(tools.count()).To(Equal(2))
	g.Expect(img.dir).To(BeADirectory())
	g.Expect(img.Close()).To(Succeed())
	_, err = s.GC(t.Context(), GCOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(img.dir).NotTo(BeADirectory())
}

func TestADamagedImportSaysWhatToDo(t *testing.T) {
	g := NewWithT(t)
	s, _ := filledStore(t)
	img, err := s.Import(t.Context(), disk(t, "mine"), ImportOptions{Name: "mine"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(img.Close()).To(Succeed())
	damage(t, img.Disk, flipped)
	_, err = s.Ensure(t.Context(), Request{Name: "mine"})
	g.Expect(err).To(MatchError(And(HavePrefix(`image "mine": image is damaged: `+img.Disk+" has sha256 "),
		HaveSuffix("import it again (labtest image import FILE --name mine)"))))
}

func TestFilesThatWereOnlyTouchedAreStillRight(t *testing.T) {
	g := NewWithT(t)
	s, at := filledStore(t, "aa")
	img := ensure(t, s, "debian-12", "aa")
	g.Expect(os.Chtimes(img.Disk, at.now, at.now)).To(Succeed()) // as a copy of the cache has it
	before, err := os.ReadFile(s.checkedPath(img.meta.id()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ensure(t, s, "debian-12", "aa").Digest).To(Equal(img.Digest))
	g.Expect(os.ReadFile(s.checkedPath(img.meta.id()))).NotTo(Equal(before), "it is noted, and not read again")
}

// tree is what lies in a folder: names, sizes and times of change.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		found[path] = info.Mode().String() + " " + info.ModTime().String()
		return err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found
}

func TestGCLeavesNothingOfADeadFillAndADryRunTouchesNothing(t *testing.T) {
	g := NewWithT(t)
	s, _ := filledStore(t, "aa")
	_, err := s.GC(t.Context(), GCOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	clean := names(tree(t, s.cfg.Dir))

	// As the kernel leaves it when a process dies in the middle of a fill.
	dead, err := s.newWorkspace(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dead.alive.Close()).To(Succeed())
	for _, path := range []string{
		filepath.Join(dead.dir, ".tmp-123"), s.fillLock("recipe-of-the-dead"), s.path(locksDir, "object-of-the-dead"),
		s.path(tmpDir, "fill-without-lock"), s.path(debsDir, "partial", "half.deb"),
	} {
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o700)).To(Succeed())
		g.Expect(os.WriteFile(path, nil, 0o600)).To(Succeed())
	}
	before := tree(t, s.cfg.Dir)
	_, err = s.GC(t.Context(), GCOptions{DryRun: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tree(t, s.cfg.Dir)).To(Equal(before))
	_, err = s.GC(t.Context(), GCOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names(tree(t, s.cfg.Dir))).To(Equal(clean))
}

func names(tree map[string]string) []string {
	var all []string
	for name := range tree {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func TestAFullDiskIsNotRemediedByAnotherMirror(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	err := spaceHint(s.explain(&os.PathError{Op: "write", Path: "x.part", Err: unix.ENOSPC}, "disk", "http://host/disk"), "/cache")
	g.Expect(err).To(MatchError("download http://host/disk: write x.part: no space left on device: free some space in /cache (labtest image rm NAME, labtest gc)"))
}
