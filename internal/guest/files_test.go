package guest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

func TestUploadQuick(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	c := newClient(t, s.config())
	src := t.TempDir()
	g.Expect(os.MkdirAll(filepath.Join(src, "a/empty"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(src, "a/f"), []byte("hello"), 0o751)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(src, "a/b\\\nc"), []byte("x"), 0o640)).To(Succeed())
	g.Expect(os.Symlink("f", filepath.Join(src, "a/l"))).To(Succeed())
	f, err := os.Create(filepath.Join(src, "a/sparse"))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.WriteAt([]byte("middle"), 10<<20)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Truncate(64 << 20)).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
	g.Expect(c.Upload(soon(t), filepath.Join(src, "a/f"), "one")).To(Succeed())
	g.Expect(c.Upload(soon(t), filepath.Join(src, "a/sparse"), "two")).To(Succeed())
	g.Expect(c.Upload(soon(t), filepath.Join(src, "a"), "tree/")).To(Succeed())
	g.Expect(c.Upload(soon(t), filepath.Join(src, "a"), "tree/")).To(Succeed())
	info, err := os.Stat(filepath.Join(s.home, "tree/sparse"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Size()).To(BeEquivalentTo(64 << 20))
	g.Expect(info.Sys().(*syscall.Stat_t).Blocks).To(BeNumerically("<", 2000))
}
