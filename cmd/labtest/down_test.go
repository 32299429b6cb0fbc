package main

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestHolderIsWhoHoldsTheLock(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	run := s.leftover(t, "aa11bb")
	lock := filepath.Join(run, "lock")
	looker, err := os.Open(lock) // this process has the file open, but not the lock
	g.Expect(err).NotTo(HaveOccurred())
	defer looker.Close()
	_, err = holder(lock)
	g.Expect(err).To(MatchError(errNoHolder))
	owner := startRole(t, "owner", "held", run, "orderly")
	g.Expect(holder(lock)).To(Equal(owner.Process.Pid))
}

func TestDownAsksTheOwner(t *testing.T) {
	for how, left := range map[string]string{"orderly": "nothing", "careless": "files that down removes"} {
		t.Run(how+" leaves "+left, func(t *testing.T) {
			g := NewWithT(t)
			s := newSetting(t)
			run := s.leftover(t, "aa11bb", "alice")
			owner := startRole(t, "owner", "held", run, how)
			bystander := startRole(t, "owner", "held", s.leftover(t, "bb22cc"), "orderly")
			got := s.run(t.Context(), "down", "aa1")
			g.Expect(got.status).To(Equal(0), got.err)
			g.Expect(got.out).To(Equal("lab aa11bb is gone\n"))
			g.Expect(owner.Wait()).To(Succeed())
			g.Expect(run).NotTo(BeAnExistingFile())
			g.Expect(holder(filepath.Join(s.dirs.Run, "bb22cc", "lock"))).To(Equal(bystander.Process.Pid), "another lab's owner is left alone")
		})
	}
}

func TestDownOfAnOwnerThatDoesNotListen(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	run := s.leftover(t, "aa11bb")
	startRole(t, "owner", "held", run, "deaf")
	got := s.run(t.Context(), "down", ".", "--timeout", "200ms")
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(MatchRegexp(`end lab aa11bb: gave up after .*: its owner, process \d+, has not ended it within 200ms; kill -9 \d+ ends it at once`))
	g.Expect(run).To(BeADirectory())
}

func TestDownWithoutALab(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	s.leftover(t, "aa11bb")
	got := s.run(t.Context(), "down", "aa11bb")
	g.Expect(got.status).To(Equal(2))
	g.Expect(got.err).To(ContainSubstring(`lab "aa11bb": no lab runs below`))
}
