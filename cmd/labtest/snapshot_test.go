package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/lab"
	"ionlab/internal/snapshot"
)

// saved puts a snapshot into the store and returns its key.
func (s *setting) saved(t *testing.T, topology string) (string, *snapshot.Entry) {
	t.Helper()
	return s.savedFrom(t, snapshot.Inputs{"topology": topology})
}

func (s *setting) savedFrom(t *testing.T, inputs snapshot.Inputs) (string, *snapshot.Entry) {
	t.Helper()
	g := NewWithT(t)
	store, err := snapshot.Open(snapshot.Config{Dir: filepath.Join(s.dirs.Cache, "snapshots"), Now: s.app.now})
	g.Expect(err).NotTo(HaveOccurred())
	key := inputs.Key()
	draft, err := store.Begin(t.Context(), key, "", nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(draft.Path("solo.memory"), []byte("memory"), 0o600)).To(Succeed())
	entry, err := draft.Commit(t.Context(), &snapshot.Manifest{
		Topology: inputs["topology"], Inputs: inputs, Nodes: []snapshot.Node{{Name: "solo"}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(draft.Close()).To(Succeed())
	return key, entry
}

func TestSnapshotList(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	got := s.run(t.Context(), "snapshot", "list")
	g.Expect(got).To(Equal(result{0, "KEY  TOPOLOGY  NODES  SIZE  MADE  USED  STATE\n", ""}))
	g.Expect(s.run(t.Context(), "snapshot", "list", "--json").out).To(Equal("[]\n"))
	g.Expect(filepath.Join(s.dirs.Cache, "snapshots")).NotTo(BeADirectory(), "looking makes nothing")
	key, entry := s.saved(t, "single")
	got = s.run(t.Context(), "snapshot", "list")
	g.Expect(got.out).To(MatchRegexp(`(?m)^` + key[:8] + ` +single +solo +[\d.]+ KiB +0.0 s ago +0.0 s ago +in use$`))
	g.Expect(entry.Close()).To(Succeed())
	_, furnished := s.savedFrom(t, snapshot.Inputs{"topology": "pair", lab.SetUpInput: "dpkg"})
	g.Expect(furnished.Close()).To(Succeed())
	g.Expect(s.run(t.Context(), "snapshot", "list").out).To(And(MatchRegexp(`(?m) single +.* present$`), MatchRegexp(`(?m) pair +.* present, set up$`)))
	got = s.run(t.Context(), "snapshot", "list", "--json")
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect(got.out).To(And(ContainSubstring(`"key": "`+key+`",`), ContainSubstring(`"in_use": false,`), ContainSubstring(`"topology": "single"`)))
}

func TestSnapshotRemove(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	g.Expect(s.run(t.Context(), "snapshot", "rm", "abc").err).To(ContainSubstring(`"abc": there is no such snapshot`))
	key, entry := s.saved(t, "single")
	_, other := s.saved(t, "other")
	got := s.run(t.Context(), "snapshot", "rm", key[:6])
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(ContainSubstring("remove snapshot " + key[:8] + ": a running lab uses it"))
	g.Expect(entry.Close()).To(Succeed())
	g.Expect(s.run(t.Context(), "snapshot", "rm", key[:6])).To(Equal(result{0, "", ""}))
	g.Expect(entry.Path("solo.memory")).NotTo(BeAnExistingFile())
	g.Expect(s.run(t.Context(), "snapshot", "rm", "--all").status).To(Equal(0))
	g.Expect(other.Path("solo.memory")).To(BeAnExistingFile(), "it is in use")
	g.Expect(other.Close()).To(Succeed())
	g.Expect(s.run(t.Context(), "snapshot", "rm").status).To(Equal(2))
	g.Expect(s.run(t.Context(), "snapshot", "rm", "--all").status).To(Equal(0))
	g.Expect(strings.Count(s.run(t.Context(), "snapshot", "list").out, "\n")).To(Equal(1))
}

func TestSnapshotVerifyAndGC(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	key, entry := s.saved(t, "single")
	g.Expect(entry.Close()).To(Succeed())
	g.Expect(s.run(t.Context(), "snapshot", "verify")).To(Equal(result{0, key[:8] + " single: ok\n", ""}))
	g.Expect(os.Chmod(entry.Path("solo.memory"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(entry.Path("solo.memory"), []byte("mEmory"), 0o600)).To(Succeed())
	got := s.run(t.Context(), "snapshot", "verify")
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(ContainSubstring("snapshot " + key[:8] + " is damaged: the content of solo.memory has changed since it was saved"))
	orphan := filepath.Join(s.dirs.Cache, "snapshots", "entries", strings.Repeat("0", 32)+"-abc")
	g.Expect(os.Mkdir(orphan, 0o700)).To(Succeed())
	g.Expect(s.run(t.Context(), "gc", "-n").out).To(ContainSubstring("would remove snapshot that nothing refers to"))
	g.Expect(orphan).To(BeADirectory())
	g.Expect(s.run(t.Context(), "gc").out).To(ContainSubstring("removed snapshot that nothing refers to"))
	g.Expect(orphan).NotTo(BeADirectory())
}
