package guest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// stream is what a guest might send.
func tarStream(kind string, headers ...tar.Header) []byte {
	var b bytes.Buffer
	b.WriteString(kind + "\n")
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "evil"
		}
		h.Size = int64(len(body))
		_ = w.WriteHeader(&h)
		_, _ = io.WriteString(w, body)
	}
	_ = w.Close()
	return b.Bytes()
}

func TestUnpackStaysInside(t *testing.T) {
	outside := t.TempDir()
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to} }
	for name, headers := range map[string][]tar.Header{
		"parent":               {file("../evil")},
		"deep parent":          {file("a/../../evil")},
		"absolute":             {file(outside + "/evil")},
		"through a symlink":    {link("l", outside), file("l/evil")},
		"through two":          {link("a", ".."), link("b", "a/.."), file("b/evil")},
		"folder on a symlink":  {link("l", outside), {Typeflag: tar.TypeDir, Name: "l/evil/", Mode: 0o755}},
		"hard link to outside": {hard("l", "../../../../etc/passwd")},
		"hard link absolute":   {hard("l", "/etc/passwd")},
		"mode of a symlink":    {{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755}, link("d", outside)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := filepath.Join(t.TempDir(), "a", "b")
			g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
			_, err := unpackStream(bytes.NewReader(tarStream(kindFolder, headers...)), dir)
			g.Expect(err).To(MatchError(Or(ContainSubstring("outside"), ContainSubstring("escapes"))))
			g.Expect(os.ReadDir(outside)).To(BeEmpty())
			g.Expect(os.ReadDir(filepath.Dir(dir))).To(HaveLen(1))
		})
	}
}

func TestUnpackReplacesALinkInsteadOfFollowingIt(t *testing.T) {
	g := NewWithT(t)
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	g.Expect(os.WriteFile(outside, []byte("safe"), 0o600)).To(Succeed())
	_, err := unpackStream(bytes.NewReader(tarStream(kindFolder,
		tar.Header{Typeflag: tar.TypeSymlink, Name: "x", Linkname: outside},
		tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o4755},
		tar.Header{Typeflag: tar.TypeLink, Name: "y", Linkname: "x"},
		tar.Header{Typeflag: tar.TypeFifo, Name: "fifo"},
	)), dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadFile(outside)).To(BeEquivalentTo("safe"))
	info, err := os.Lstat(filepath.Join(dir, treeContent, "x"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode()).To(Equal(fs.FileMode(0o755)), "no setuid file from a guest")
	g.Expect(os.ReadFile(filepath.Join(dir, treeContent, "y"))).To(BeEquivalentTo("evil"))
	g.Expect(filepath.Join(dir, treeContent, "fifo")).NotTo(BeAnExistingFile())
}

func TestUnpackNoticesAnEarlyEnd(t *testing.T) {
	whole := tarStream(kindFolder, tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o644})
	for _, data := range [][]byte{nil, []byte("fold"), []byte("folder\n"), whole[:515]} {
		g := NewWithT(t)
		_, err := unpackStream(bytes.NewReader(data), t.TempDir())
		g.Expect(errors.Is(err, io.ErrUnexpectedEOF)).To(BeTrue(), "%d: %v", len(data), err)
	}
	g := NewWithT(t)
	_, err := unpackStream(strings.NewReader("nonsense\n"), t.TempDir())
	g.Expect(err).To(MatchError(`the guest sent something unexpected: "nonsense"`))
	two := tarStream(kindFile, tar.Header{Typeflag: tar.TypeReg, Name: "x"}, tar.Header{Typeflag: tar.TypeReg, Name: "y"})
	_, err = unpackStream(bytes.NewReader(two), t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring("more than the one file")))
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarStream(kindFolder, tar.Header{Typeflag: tar.TypeReg, Name: "a/b", Mode: 0o644}))
	f.Add(tarStream(kindFolder, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, tar.Header{Typeflag: tar.TypeReg, Name: "l/x"}))
	f.Add(tarStream(kindFile, tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o600}))
	f.Add([]byte("plain\ndata"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if len(data) > 1<<16 {
			return
		}
		_, _ = unpackStream(bytes.NewReader(data), dir)
		entries, err := os.ReadDir(filepath.Dir(dir))
		if err != nil || len(entries) != 1 {
			t.Fatalf("something was written outside: %v, %v", entries, err)
		}
		_ = removeTree(dir)
	})
}

func TestSparseWriter(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, 100000), "short": []byte("x"),
		"mixed": append(append(make([]byte, 5000), "data"...), make([]byte, 9000)...),
		"tail":  append(bytes.Repeat([]byte("d"), 8192), make([]byte, 8192)...),
	} {
		for _, step := range []int{1, 100, 4096, 4097, 1 << 20} {
			g := NewWithT(t)
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			g.Expect(err).NotTo(HaveOccurred())
			w := &sparseWriter{f: f}
			for rest := data; len(rest) > 0; {
				n, err := w.Write(rest[:min(step, len(rest))])
				g.Expect(err).NotTo(HaveOccurred())
				rest = rest[n:]
			}
			g.Expect(w.finish()).To(Succeed())
			g.Expect(f.Close()).To(Succeed())
			got, err := os.ReadFile(f.Name())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(bytes.Equal(got, data)).To(BeTrue(), "%s by %d", name, step)
		}
	}
}

func TestPaxRecordCountsItself(t *testing.T) {
	g := NewWithT(t)
	g.Expect(paxRecord("a", "b")).To(Equal("6 a=b\n"))
	g.Expect(paxRecord("k", strings.Repeat("v", 93))).To(Equal("99 k=" + strings.Repeat("v", 93) + "\n"))
	g.Expect(paxRecord("k", strings.Repeat("v", 94))).To(Equal("101 k=" + strings.Repeat("v", 94) + "\n"))
}
