package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

func content(text string) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func newDir(t *testing.T) *Dir {
	t.Helper()
	dir, err := Create(t.TempDir(), "lab", "spec")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, dir *Dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir.Path(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSlug(t *testing.T) {
	long := strings.Repeat("word ", 40)
	cases := map[string]string{
		"RustDesk connects (slow WAN), twice": "RustDesk-connects-slow-WAN-twice",
		"../../etc/passwd":                    "etc-passwd",
		"..":                                  "fallback",
		".hidden":                             "hidden",
		"":                                    "fallback",
		"ünïcode\x00":                         "n-code",
		"-rf":                                 "rf",
		"v1.2_x":                              "v1.2_x",
		"日本":                                  "fallback",
	}
	for text, want := range cases {
		NewWithT(t).Expect(slug(text, "fallback")).To(Equal(want), text)
	}
	g := NewWithT(t)
	g.Expect(len(slug(long, "x"))).To(BeNumerically("<=", maxSlug))
	g.Expect(slug(long+"a", "x")).NotTo(Equal(slug(long+"b", "x")))
}

func FuzzSlug(f *testing.F) {
	f.Add("a/../b")
	f.Add(strings.Repeat("é", 300))
	f.Fuzz(func(t *testing.T, text string) {
		got := slug(text, "fallback")
		if got == "" || len(got) > maxSlug || got != filepath.Base(got) || strings.HasPrefix(got, ".") || strings.HasPrefix(got, "-") {
			t.Errorf("slug(%q) = %q", text, got)
		}
	})
}

func TestCreateNeverSharesAFolder(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	var (
		mu    sync.Mutex
		paths = map[string]bool{}
		wg    sync.WaitGroup
	)
	for range 20 {
		wg.Go(func() {
			dir, err := Create(root, "two/sites", "a spec")
			g.Expect(err).NotTo(HaveOccurred())
			mu.Lock()
			defer mu.Unlock()
			paths[dir.Path()] = true
		})
	}
	wg.Wait()
	g.Expect(paths).To(HaveLen(20))
	g.Expect(paths).To(HaveKey(filepath.Join(root, "two-sites", "a-spec")))
	g.Expect(paths).To(HaveKey(filepath.Join(root, "two-sites", "a-spec-20")))
}

func TestCreateTellsWhy(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
	_, err := Create(file, "lab", "a spec")
	g.Expect(err).To(MatchError(And(HavePrefix(`create artifact folder for "a spec": `), ContainSubstring("not a directory"))))

	root := t.TempDir()
	for try := 1; try <= maxTries; try++ {
		g.Expect(os.MkdirAll(filepath.Join(root, "lab", numbered("s", try)), 0o700)).To(Succeed())
	}
	_, err = Create(root, "lab", "s")
	g.Expect(err).To(MatchError(HaveSuffix("lab holds 1000 of that name: remove old ones")))
}

func TestSaveStaysInItsFolder(t *testing.T) {
	g := NewWithT(t)
	dir := newDir(t)
	for _, name := range []string{"desk/console.log", "desk/console.log", "../../up", "/abs/x", "..", "//", "abs"} {
		g.Expect(dir.Save(t.Context(), name, 100, content(name))).To(Succeed())
	}
	g.Expect(dir.Names()).To(Equal([]string{"abs-2", "abs/x", "desk/console-2.log", "desk/console.log", "file", "file-2", "up"}))
	g.Expect(read(t, dir, "desk/console.log")).To(Equal("desk/console.log"))
}

func TestSaveKeepsBothEnds(t *testing.T) {
	for total := range 26 {
		for _, limit := range []int64{1, 2, 7, 10} {
			for _, piece := range []int{1, 3, 50} {
				g := NewWithT(t)
				var all bytes.Buffer
				for i := range total {
					all.WriteByte(byte('A' + i))
				}
				dir := newDir(t)
				g.Expect(dir.Save(t.Context(), "x", limit, func(_ context.Context, w io.Writer) error {
					text := all.Bytes()
					for len(text) > 0 {
						n, err := w.Write(text[:min(piece, len(text))])
						if err != nil {
							return err
						}
						text = text[n:]
					}
					return nil
				})).To(Succeed())
				want := all.String()
				if int64(total) > limit {
					head, tail := (limit+1)/2, limit/2
					want = fmt.Sprintf("%s\n[labtest: %d bytes left out here, of %d]\n%s",
						want[:head], int64(total)-limit, total, want[int64(total)-tail:])
				}
				g.Expect(read(t, dir, "x")).To(Equal(want), "total %d, limit %d, pieces of %d", total, limit, piece)
			}
		}
	}
}

func TestSaveKeepsWhatAFailingSourceWrote(t *testing.T) {
	g := NewWithT(t)
	dir := newDir(t)
	dir.Redact([]string{"hunter22"})
	err := dir.Save(t.Context(), "journal", 1000, func(_ context.Context, w io.Writer) error {
		_, _ = io.WriteString(w, "line one")
		return errors.New("node died with hunter22")
	})
	g.Expect(err).To(MatchError(`save artifact "journal": node died with hunter22`))
	g.Expect(read(t, dir, "journal")).To(Equal("line one\n[labtest: incomplete: node died with [redacted]]\n"))
	g.Expect(dir.Names()).To(Equal([]string{"journal"}))
}

func TestSaveEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	dir := newDir(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	err := dir.Save(ctx, "endless", 10, func(_ context.Context, w io.Writer) error {
		for {
			if _, err := io.WriteString(w, "x"); err != nil {
				return err
			}
			cancel(errors.New("time is up"))
		}
	})
	g.Expect(err).To(MatchError(`save artifact "endless": time is up`))
	g.Expect(read(t, dir, "endless")).To(Equal("x\n[labtest: incomplete: time is up]\n"))

	err = dir.Save(ctx, "late", 10, content(""))
	g.Expect(err).To(MatchError(`save artifact "late": time is up`))
}

func TestSaveLeavesNoPartsBehind(t *testing.T) {
	g := NewWithT(t)
	dir := newDir(t)
	g.Expect(dir.Save(t.Context(), "big", 10, content(strings.Repeat("x", 100)))).To(Succeed())
	g.Expect(dir.Save(t.Context(), "small", 10, content("x"))).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Join(dir.Path(), "blocked"), 0o755)).To(Succeed())
	err := dir.Save(t.Context(), "blocked", 10, content("x"))
	g.Expect(err).To(MatchError(And(HavePrefix(`save artifact "blocked": publish `), ContainSubstring("file exists"))))
	found, err := filepath.Glob(filepath.Join(dir.Path(), ".part-*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found).To(BeEmpty())
}

func TestSaveRefusesNoLimit(t *testing.T) {
	g := NewWithT(t)
	g.Expect(newDir(t).Save(t.Context(), "x", 0, content("x"))).To(MatchError(`save artifact "x": limit of 0 bytes: want at least 1`))
}

func TestSaveFromManyGoroutines(t *testing.T) {
	g := NewWithT(t)
	dir := newDir(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { g.Expect(dir.Save(t.Context(), "n/x.log", 10, content("text"))).To(Succeed()) })
	}
	wg.Wait()
	g.Expect(dir.Names()).To(HaveLen(20))
	for _, name := range dir.Names() {
		g.Expect(read(t, dir, name)).To(Equal("text"))
	}
}
