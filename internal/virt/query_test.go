package virt

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"libvirt.org/go/libvirt"
)

func TestAFolderWithoutADaemonHasNoDomains(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Domains(t.Context(), t.TempDir())).To(BeEmpty())
}

func TestADaemonThatIsGoneIsAnError(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.MkdirAll(filepath.Dir(Socket(dir)), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(Socket(dir), nil, 0o600)).To(Succeed()) // there, but nobody listens
	_, err := Domains(t.Context(), dir)
	g.Expect(err).To(MatchError(ContainSubstring("ask the private libvirtd in " + dir)))
}

func TestEveryStateHasAName(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]bool{}
	for state := libvirt.DOMAIN_NOSTATE; state <= libvirt.DOMAIN_PMSUSPENDED; state++ {
		seen[stateName(state)] = true
	}
	g.Expect(seen).To(HaveLen(8), "unknown stands for no state only")
}
