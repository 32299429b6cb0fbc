package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/lab"
)

func TestPrepareTellsEachLabThatFails(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	broken := func(context.Context) error { return errors.New("the mirror is on fire") }
	s.app.machine = func(lab.Dirs) (lab.Host, error) { return fakeHost{image: broken}, nil }
	second := filepath.Join(t.TempDir(), "second.yaml")
	g.Expect(os.WriteFile(second, []byte("metadata: {name: second}\nnodes: [{name: bob, memory_mb: 128}]\n"), 0o600)).To(Succeed())
	got := s.run(t.Context(), "prepare", topologyFile(t), second)
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(ContainSubstring(`prepare pair: node "alice": image "debian-12": the mirror is on fire`))
	g.Expect(got.err).To(ContainSubstring(`prepare second: node "bob": image "debian-12": the mirror is on fire`))
	g.Expect(filepath.Glob(filepath.Join(s.dirs.Run, "[0-9a-f]*"))).To(BeEmpty())
	g.Expect(filepath.Glob(filepath.Join(s.dirs.State, "*"))).To(BeEmpty())
}

func TestPrepareRefusesWhatIsNoTopology(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	got := s.run(t.Context(), "prepare", topologyFile(t), "/nonexistent/one.yaml", "/nonexistent/two.yaml")
	g.Expect(got.status).To(Equal(2))
	g.Expect(got.err).To(And(ContainSubstring("/nonexistent/one.yaml"), ContainSubstring("/nonexistent/two.yaml")))
	g.Expect(s.run(t.Context(), "prepare").status).To(Equal(2))
}
