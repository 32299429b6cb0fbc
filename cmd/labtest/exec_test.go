package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/seed"
)

func TestParseEnv(t *testing.T) {
	g := NewWithT(t)
	g.Expect(parseEnv([]string{"A=1", "B=x=y", "C="})).To(Equal(map[string]string{"A": "1", "B": "x=y", "C": ""}))
	for _, bad := range []string{"A", "=x", ""} {
		_, err := parseEnv([]string{bad})
		g.Expect(err).To(MatchError(ContainSubstring("write KEY=VALUE")), bad)
	}
	s := newSetting(t)
	s.lab(t, "aa11bb", "alice")
	got := s.run(t.Context(), "exec", ".", "alice", "--env", "oops", "--", "true")
	g.Expect(got).To(Equal(result{2, "", "labtest: --env \"oops\": write KEY=VALUE\n"}))
}

// A node that cannot be reached is told from a program that failed, as ssh does it.
func TestExecOfAnUnreachableNodeIs255(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	run := s.lab(t, "aa11bb", "alice")
	key, err := seed.NewClientKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	host, err := seed.NewHostKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	got := s.run(t.Context(), "exec", ".", "alice", "--", "true")
	g.Expect(got.status).To(Equal(255), "without the lab's key")
	g.Expect(got.err).To(ContainSubstring("read the key of lab aa11bb"))
	g.Expect(os.WriteFile(filepath.Join(run, "key"), []byte(key.Private), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(run, "known_hosts"), []byte("alice "+host.Public+"\n"), 0o600)).To(Succeed())
	got = s.run(t.Context(), "exec", ".", "alice", "--", "true")
	g.Expect(got.status).To(Equal(255), got.err)
	g.Expect(got.err).To(ContainSubstring(`connect to node "alice"`))
	g.Expect(got.err).To(HaveSuffix("\nlibvirt says of node \"alice\": no domain\n"))
}
