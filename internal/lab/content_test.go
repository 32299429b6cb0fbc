package lab

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestContentDigest(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	digestOf := func() string {
		sum, err := contentDigest(dir)
		g.Expect(err).NotTo(HaveOccurred())
		return sum
	}
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o700)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte(text), mode)).To(Succeed())
		g.Expect(os.Chmod(path, mode)).To(Succeed())
	}
	write("a", "1", 0o600)
	seen := map[string]string{digestOf(): "one file"}
	for _, change := range []struct {
		what string
		do   func()
	}{
		{"content", func() { write("a", "2", 0o600) }},
		{"mode", func() { write("a", "2", 0o700) }},
		{"another file", func() { write("sub/b", "", 0o600) }},
		{"name", func() { g.Expect(os.Rename(dir+"/sub/b", dir+"/sub/c")).To(Succeed()) }},
		{"folder", func() { g.Expect(os.Mkdir(dir+"/empty", 0o700)).To(Succeed()) }},
		{"link", func() { g.Expect(os.Symlink("a", dir+"/l")).To(Succeed()) }},
	} {
		change.do()
		sum := digestOf()
		g.Expect(seen).NotTo(HaveKey(sum), change.what)
		seen[sum] = change.what
	}
	moved := filepath.Join(t.TempDir(), "elsewhere")
	before := digestOf()
	g.Expect(os.Rename(dir, moved)).To(Succeed())
	g.Expect(os.Symlink(moved, dir)).To(Succeed())
	g.Expect(digestOf()).To(Equal(before), "where it lies does not matter")
	_, err := contentDigest(filepath.Join(moved, "none"))
	g.Expect(err).To(MatchError(os.ErrNotExist))
}
