package snapshot

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// tree is what lies in a folder: modes and times of change by path.
func tree(t testing.TB, dir string) map[string]string {
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

func TestGCLeavesNothingOfTheDeadAndADryRunTouchesNothing(t *testing.T) {
	g := NewWithT(t)
	s := open(t, nil)
	kept := fill(t, s, keyOf("kept"), "content")
	g.Expect(kept.Close()).To(Succeed())
	_, err := s.GC(within(t), ModeRemove)
	g.Expect(err).NotTo(HaveOccurred())
	clean := tree(t, s.cfg.Dir)

	d, err := s.Begin(within(t), keyOf("dead"), "was killed", nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.alive.Close()).To(Succeed()) // as the kernel does
	g.Expect(d.fill.Close()).To(Succeed())
	for _, path := range []string{
		d.Path("a.memory"), s.refPath(keyOf("dead")) + partSuffix, s.path(tmpDir, keyOf("x")+"-0123456789ab", "half"),
		s.path(entriesDir, keyOf("y")+"-0123456789ab", "a.memory"),
	} {
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o700)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte("half"), 0o600)).To(Succeed())
	}
	before := tree(t, s.cfg.Dir)
	_, err = s.GC(within(t), ModeDryRun)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tree(t, s.cfg.Dir)).To(Equal(before))
	_, err = s.GC(within(t), ModeRemove)
	g.Expect(err).NotTo(HaveOccurred())
	after := tree(t, s.cfg.Dir)
	for path := range clean {
		g.Expect(after).To(HaveKey(path))
	}
	g.Expect(after).To(HaveLen(len(clean)), "%v", after)
}

func TestARefusalThatWasNotWrittenToTheEndIsNone(t *testing.T) {
	g := NewWithT(t)
	s := open(t, nil)
	g.Expect(os.WriteFile(s.refPath(keyOf("a"))+refusalSuffix, nil, 0o600)).To(Succeed())
	_, err := s.Get(within(t), keyOf("a"))
	g.Expect(err).To(MatchError(ErrAbsent))
}
