package main

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestGCRemovesTheDeadOnly(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	living := s.lab(t, "aa11bb", "alice")
	dead := s.leftover(t, "dead00", "ghost")
	deadState := filepath.Join(s.dirs.State, "dead00")
	foreign := filepath.Join(s.dirs.State, "not-a-lab")
	g.Expect(os.MkdirAll(foreign, 0o700)).To(Succeed())

	got := s.run(t.Context(), "gc", "--dry-run")
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect(got.out).To(MatchRegexp(`^would remove lab dead00 \(1\d\d\.\d KiB\)\n`))
	g.Expect(got.out).To(ContainSubstring("  " + dead + "\n  " + deadState + "\n"))
	g.Expect(dead).To(BeADirectory())

	got = s.run(t.Context(), "gc")
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect(got.out).To(MatchRegexp(`^removed lab dead00 \(1\d\d\.\d KiB\)\n`))
	g.Expect(got.out).NotTo(ContainSubstring("aa11bb"))
	g.Expect(dead).NotTo(BeAnExistingFile())
	g.Expect(deadState).NotTo(BeAnExistingFile())
	for _, kept := range []string{living, filepath.Join(s.dirs.State, "aa11bb", "disks", "x.qcow2"), foreign} {
		g.Expect(kept).To(BeAnExistingFile())
	}
	g.Expect(s.run(t.Context(), "gc")).To(Equal(result{0, "nothing to remove\n", ""}))
}

func TestGCLooksAfterTheImageStore(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	g.Expect(s.run(t.Context(), "image", "list").status).To(Equal(0)) // it makes the store
	orphan := filepath.Join(s.dirs.Cache, "images", "objects", "0123456789012345678901234567890123456789")
	g.Expect(os.MkdirAll(orphan, 0o755)).To(Succeed())
	got := s.run(t.Context(), "gc", "-n")
	g.Expect(got.out).To(ContainSubstring("would remove image that nothing refers to"))
	g.Expect(orphan).To(BeADirectory())
	g.Expect(s.run(t.Context(), "gc").out).To(ContainSubstring("removed image that nothing refers to"))
	g.Expect(orphan).NotTo(BeAnExistingFile())
}

func TestImageList(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	got := s.run(t.Context(), "image", "list")
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect(got.out).To(And(HavePrefix("NAME "), MatchRegexp(`(?m)^debian-12 +recipe +absent +- +Debian 12`)))
	got = s.run(t.Context(), "image", "list", "--json")
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect(got.out).To(And(HavePrefix("[\n"), ContainSubstring(`"name": "debian-12",`), ContainSubstring(`"present": false,`)))
	g.Expect(got.out).NotTo(ContainSubstring("last_used"))
}
