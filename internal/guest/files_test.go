package guest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestWriteAndReadFile(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		name := filepath.Join(home, "new dir/it's $x\n", "file")
		data := []byte("\x00\xff\n" + strings.Repeat("data", 1000))
		g.Expect(c.WriteFile(soon(t), name, data, 0o751|fs.ModeSetuid)).To(Succeed())
		info, err := os.Stat(name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Mode()).To(Equal(0o751 | fs.ModeSetuid))
		got, err := c.ReadFile(soon(t), name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(data))

		g.Expect(c.WriteFile(soon(t), name, nil, 0o600)).To(Succeed(), "replaced, also by an empty file")
		got, err = c.ReadFile(soon(t), name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(BeEmpty())

		link := filepath.Join(home, "link")
		g.Expect(os.Symlink(name, link)).To(Succeed())
		g.Expect(c.WriteFile(soon(t), link, []byte("through"), 0o644)).To(Succeed())
		g.Expect(os.Readlink(link)).To(Equal(name), "a link stays a link")
		g.Expect(os.ReadFile(name)).To(BeEquivalentTo("through"))
		noLeftovers(g, home)

		version, err := c.ReadFile(soon(t), "/proc/version")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(version).To(ContainSubstring("Linux"))
		g.Expect(c.WriteFile(soon(t), "/proc/self/comm", []byte("written"), 0o644)).To(Succeed())
		g.Expect(c.WriteFile(soon(t), "/dev/null", []byte("written"), 0o644)).To(Succeed())
	})
}

// noLeftovers expects that no temporary file is left below dir.
func noLeftovers(g Gomega, dir string) {
	g.Expect(filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if strings.Contains(filepath.Base(name), ".ionlab") {
			return fmt.Errorf("left behind: %s", name)
		}
		return err
	})).To(Succeed())
}

func TestFileErrors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		file := filepath.Join(home, "file")
		g.Expect(os.WriteFile(file, []byte("old"), 0o600)).To(Succeed())
		for _, test := range []struct {
			err  error
			is   error
			want string
		}{
			{readError(c, t, home+"/none"), fs.ErrNotExist, `read ` + home + `/none on node "alice": no such file or directory`},
			{readError(c, t, home), syscall.EISDIR, "is a directory"},
			{readError(c, t, ""), nil, "the path in the guest is empty"},
			{readError(c, t, "a\x00"), errNUL, "the path contains a NUL byte"},
			{c.WriteFile(soon(t), home, nil, 0o600), syscall.EISDIR, `write ` + home + ` on node "alice": is a directory`},
			{c.WriteFile(soon(t), file+"/below", nil, 0o600), syscall.ENOTDIR, "not a directory"},
			{c.WriteFile(soon(t), "/sys/none", []byte("x"), 0o600), nil, "/sys/none"},
			{c.Upload(soon(t), home+"/none", "x"), fs.ErrNotExist, `upload x on node "alice": source: open ` + home + `/none`},
			{c.Upload(soon(t), "/dev/null", "x"), nil, "source /dev/null is neither a file nor a folder"},
			{c.Upload(soon(t), home, file), syscall.ENOTDIR, "not a directory"},
			{c.Put(soon(t), File{Src: home, Dst: home + "/x", Mode: 0o755}), nil, "cannot be given one mode"},
			{c.Put(soon(t), File{Src: file, Dst: home + "/x", Owner: "no-such-user"}), nil, "no-such-user"},
			{c.Download(soon(t), home+"/none", t.TempDir()), fs.ErrNotExist, `download ` + home + `/none on node "alice": no such file`},
			{c.Download(soon(t), home, file), syscall.ENOTDIR, "on the host: replace by a folder " + file + ": not a directory"},
			{c.Download(soon(t), home, file+"/x"), syscall.ENOTDIR, "not a directory"},
		} {
			g.Expect(test.err).To(MatchError(ContainSubstring(test.want)))
			if test.is != nil {
				g.Expect(errors.Is(test.err, test.is)).To(BeTrue(), "%v", test.err)
			}
		}
		g.Expect(os.ReadFile(file)).To(BeEquivalentTo("old"))
		noLeftovers(g, home)
	})
}

func TestPermissionNamesTheRemedy(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	fakeTool(t, s, "cat", `echo "cat: $2: Permission denied" >&2; exit 1`)
	cfg := s.config()
	cfg.User = "ordinary"
	c := newClient(t, cfg)
	_, err := c.ReadFile(soon(t), "/etc/shadow")
	g.Expect(errors.Is(err, fs.ErrPermission)).To(BeTrue())
	g.Expect(err).To(MatchError(`read /etc/shadow on node "alice": permission denied ` +
		"(cat: /etc/shadow: Permission denied): ionlab is user ordinary there and must not use sudo"))
}

func readError(c *Client, t *testing.T, name string) error {
	_, err := c.ReadFile(soon(t), name)
	return err
}

// plant makes a tree with everything that a copy must keep.
func plant(g Gomega, root string) {
	old := time.Date(2020, 2, 3, 4, 5, 6, 789000000, time.UTC)
	for i := range 1000 {
		dir := filepath.Join(root, fmt.Sprintf("d%02d", i%37))
		g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
		name := filepath.Join(dir, fmt.Sprintf("file %d", i))
		g.Expect(os.WriteFile(name, []byte(strings.Repeat("x", i)), fs.FileMode(0o400+i%0o400))).To(Succeed())
		g.Expect(os.Chmod(name, fs.FileMode(0o400+i%0o400))).To(Succeed())
		g.Expect(os.Chtimes(name, old, old)).To(Succeed())
	}
	for name, text := range map[string]string{"a\\b\nc": "odd", "-n": "dash", ".hidden": "", "ü\xff": "bytes", "..x": "dots"} {
		g.Expect(os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)).To(Succeed())
	}
	g.Expect(os.Mkdir(filepath.Join(root, "empty"), 0o750)).To(Succeed())
	for name, to := range map[string]string{"rel": "d00/file 0", "abs": "/etc/passwd", "dangling": "../../none", "dir": "d01"} {
		g.Expect(os.Symlink(to, filepath.Join(root, name))).To(Succeed())
	}
	g.Expect(os.WriteFile(filepath.Join(root, strings.Repeat("long", 50)), []byte("l"), 0o644)).To(Succeed())
	makeSparse(g, filepath.Join(root, "sparse"), 32<<20)
	g.Expect(os.Chtimes(filepath.Join(root, "d03"), old, old)).To(Succeed())
}

// makeSparse writes a file with data in the middle and holes around.
func makeSparse(g Gomega, name string, size int64) {
	f, err := os.Create(name)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.WriteAt([]byte("middle"), size/2)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Truncate(size)).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
}

// describe lists a tree: type, mode, time, size, link and digest of each entry, and whether a file has holes.
func describe(g Gomega, root string) map[string]string {
	list := map[string]string{}
	g.Expect(filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %s %x %v", info.ModTime().UTC(), sha256.Sum256(data), isSparse(info))
		case fs.ModeSymlink:
			to, _ := os.Readlink(name)
			text += " " + to
		case fs.ModeDir:
			if rel != "." {
				text += " " + info.ModTime().UTC().String()
			}
		}
		list[rel] = text
		return nil
	})).To(Succeed())
	return list
}

func TestTreesThereAndBack(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	plant(NewWithT(t), src)
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		want := describe(g, src)
		there, back := filepath.Join(home, "p q", "there"), filepath.Join(t.TempDir(), "p", "back")
		g.Expect(c.Upload(soon(t), src, there+"//")).To(Succeed())
		g.Expect(describe(g, there)).To(Equal(want))
		g.Expect(c.Download(soon(t), there+"/", back)).To(Succeed())
		g.Expect(describe(g, back)).To(Equal(want))

		g.Expect(os.WriteFile(filepath.Join(there, "only there"), nil, 0o600)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(there, "d05", "only there"), nil, 0o600)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(there, "-n"), []byte("changed"), 0o600)).To(Succeed())
		g.Expect(os.RemoveAll(filepath.Join(there, "d07"))).To(Succeed())
		g.Expect(c.Upload(soon(t), src, there)).To(Succeed())
		merged := describe(g, there)
		g.Expect(merged).To(And(HaveKey("only there"), HaveKey("d05/only there")), "a folder is merged into")
		g.Expect(merged["-n"]).To(Equal(want["-n"]))
		g.Expect(merged["d07/file 7"]).To(Equal(want["d07/file 7"]))
		g.Expect(merged).To(HaveLen(len(want) + 2))

		g.Expect(os.Remove(filepath.Join(back, "d07", "file 7"))).To(Succeed())
		g.Expect(c.Download(soon(t), there, back)).To(Succeed())
		g.Expect(describe(g, back)).To(HaveLen(len(want) + 2))
		noLeftovers(g, home)
		noLeftovers(g, filepath.Dir(back))
	})
}

func TestSingleFilesThereAndBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		src := t.TempDir()
		tool, holes := filepath.Join(src, "tool"), filepath.Join(src, "holes")
		g.Expect(os.WriteFile(tool, []byte("#!/bin/sh\necho hi\n"), 0o755)).To(Succeed())
		makeSparse(g, holes, 16<<20)
		bin := filepath.Join(home, "bin")
		g.Expect(c.Upload(soon(t), tool, bin+"/new")).To(Succeed())
		g.Expect(c.Upload(soon(t), tool, bin)).To(Succeed(), "into a directory")
		g.Expect(c.Upload(soon(t), holes, bin)).To(Succeed())
		g.Expect(c.Put(soon(t), File{Src: tool, Dst: bin + "/put", Mode: 0o500, Owner: fmt.Sprint(os.Getuid())})).To(Succeed())
		g.Expect(c.Put(soon(t), File{Src: holes, Dst: bin + "/put holes", Mode: 0o640})).To(Succeed())
		names := describe(g, bin)
		original := describe(g, src)
		g.Expect(names["new"]).To(Equal(original["tool"]))
		g.Expect(names["tool"]).To(Equal(original["tool"]))
		g.Expect(names["holes"]).To(And(Equal(original["holes"]), HaveSuffix("true")))
		g.Expect(names["put"]).To(HavePrefix("-r-x------ "))
		g.Expect(names["put holes"]).To(And(HavePrefix("-rw-r----- "), HaveSuffix("true")))

		back := t.TempDir()
		g.Expect(c.Download(soon(t), bin+"/tool", back)).To(Succeed())
		g.Expect(c.Download(soon(t), bin+"/holes", back+"/sub/other")).To(Succeed())
		g.Expect(os.Symlink("tool", bin+"/link")).To(Succeed())
		g.Expect(c.Download(soon(t), bin+"/link", back)).To(Succeed(), "a link is followed")
		g.Expect(c.Download(soon(t), "/proc/version", back)).To(Succeed())
		got := describe(g, back)
		g.Expect(got["tool"]).To(Equal(original["tool"]))
		g.Expect(got["link"]).To(Equal(original["tool"]))
		g.Expect(got["sub/other"]).To(Equal(original["holes"]))
		g.Expect(os.ReadFile(back + "/version")).To(ContainSubstring("Linux"))
		noLeftovers(g, home)
		noLeftovers(g, back)
	})
}

func TestBigFileInBoundedMemory(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		const size = 64 << 20
		big := filepath.Join(t.TempDir(), "big")
		f, err := os.Create(big)
		g.Expect(err).NotTo(HaveOccurred())
		chunk := []byte(strings.Repeat("0123456789abcdef", 4096))
		for written := 0; written < size; written += len(chunk) {
			_, err := f.Write(chunk)
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect(f.Close()).To(Succeed())
		var before runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		peak := watchHeap(t)
		g.Expect(c.Upload(soon(t), big, home+"/big")).To(Succeed())
		g.Expect(c.Download(soon(t), home+"/big", t.TempDir()+"/back")).To(Succeed())
		g.Expect(int64(peak()) - int64(before.HeapAlloc)).To(BeNumerically("<", size/2))
	})
}

// watchHeap samples the size of the heap until the returned function is called, which gives the largest.
func watchHeap(t *testing.T) func() uint64 {
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		var largest uint64
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			largest = max(largest, m.HeapAlloc)
			select {
			case <-stop:
				result <- largest
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 { t.Helper(); close(stop); return <-result }
}

// fakeTool puts a script before the real tool of that name in the guest.
func fakeTool(t *testing.T, s *testServer, name, script string) {
	t.Helper()
	dir := t.TempDir()
	shellFile(t, dir, name, "#!/bin/sh\n"+script+"\n")
	s.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
}

func TestFullDiskLeavesNothing(t *testing.T) {
	t.Parallel()
	full := `head -c 1000; echo "$0: error writing 'standard output': No space left on device" >&2; exit 1`
	for tool, upload := range map[string]func(t *testing.T, c *Client, src string) error{
		"dd":  func(t *testing.T, c *Client, src string) error { return c.Upload(soon(t), src+"/f", "target") },
		"tar": func(t *testing.T, c *Client, src string) error { return c.Upload(soon(t), src, "target") },
		"mv":  func(t *testing.T, c *Client, src string) error { return c.Upload(soon(t), src, "target") },
	} {
		t.Run(tool, func(t *testing.T) {
			g := NewWithT(t)
			s := newServer(t)
			fakeTool(t, s, tool, full)
			c := newClient(t, s.config())
			src := t.TempDir()
			g.Expect(os.WriteFile(src+"/f", make([]byte, 5<<20), 0o644)).To(Succeed())
			err := upload(t, c, src)
			g.Expect(errors.Is(err, syscall.ENOSPC)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(And(HavePrefix(`upload target on node "alice": no space left on device`),
				HaveSuffix("give the node a larger disk_gb"))))
			g.Expect(os.ReadDir(s.home)).To(BeEmpty())
		})
	}
}

func TestDamageOnTheWayIsNoticed(t *testing.T) {
	t.Parallel()
	for tool, script := range map[string]string{
		"dd":  `head -c 100 | tr a b; head -c 4900 `,
		"tar": `/bin/tar "$@" && for last; do :; done; echo more >>"$last/content/f"`,
	} {
		t.Run(tool, func(t *testing.T) {
			g := NewWithT(t)
			s := newServer(t)
			fakeTool(t, s, tool, script)
			c := newClient(t, s.config())
			src := t.TempDir()
			g.Expect(os.WriteFile(src+"/f", []byte(strings.Repeat("a", 5000)), 0o644)).To(Succeed())
			from := src
			if tool == "dd" {
				from += "/f"
			}
			g.Expect(c.Upload(soon(t), from, "target")).To(MatchError(ContainSubstring("checksum mismatch")))
			g.Expect(os.ReadDir(s.home)).To(BeEmpty())
		})
	}
}

// startUpload begins to write a file that never ends and waits until some of it is on disk.
func startUpload(ctx context.Context, t *testing.T, c *Client, home string) <-chan error {
	reader, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	done := make(chan error, 1)
	go func() {
		done <- c.operate(ctx, "upload", "x", "x", func(ctx context.Context) error {
			return c.send(ctx, upload{op: "upload", dst: home + "/target", size: 1 << 30, content: reader})
		})
	}()
	_, _ = writer.Write(make([]byte, 1<<20))
	NewWithT(t).Eventually(func() []string {
		names, _ := filepath.Glob(home + "/.ionlab-*")
		return names
	}).WithTimeout(10 * time.Second).ShouldNot(BeEmpty())
	return done
}

func TestInterruptedUploadLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		ctx, cancel := context.WithCancelCause(soon(t))
		done := startUpload(ctx, t, c, home)
		cancel(errors.New("changed my mind"))
		g.Expect(<-done).To(MatchError(ContainSubstring("changed my mind")))
		g.Eventually(func() ([]os.DirEntry, error) { return os.ReadDir(home) }).WithTimeout(5 * time.Second).Should(BeEmpty())

		done = startUpload(soon(t), t, c, home)
		c.Disconnect()
		g.Expect(errors.Is(<-done, ErrOutcomeUnknown)).To(BeTrue())
		g.Eventually(func() ([]os.DirEntry, error) { return os.ReadDir(home) }).WithTimeout(5 * time.Second).Should(BeEmpty())
	})
}

func TestSourceThatShrinks(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	c := newClient(t, s.config())
	err := c.send(soon(t), upload{op: "upload", dst: "target", size: 100, content: strings.NewReader("short")})
	g.Expect(err).To(MatchError(ContainSubstring("the source became shorter while it was read: 95 bytes are missing")))
	g.Expect(os.ReadDir(s.home)).To(BeEmpty())
}
