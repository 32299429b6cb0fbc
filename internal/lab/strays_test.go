package lab

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

func TestIsStray(t *testing.T) {
	const run = "/run/labtest/abc123"
	for line, want := range map[string]bool{
		"/usr/bin/qemu-system-x86_64 -netdev stream,addr.path=/run/labtest/abc123/f/l0.sock":  true,
		"/usr/bin/qemu-system-x86_64 -netdev stream,addr.path=/run/labtest/abc1234/f/l0.sock": false,
		"/usr/bin/qemu-system-x86_64 -netdev stream,addr.path=/run/labtest/def456/f/l0.sock":  false,
		"ssh -F /run/labtest/abc123/ssh_config alice":                                         false,
		"": false,
	} {
		NewWithT(t).Expect(isStray([]byte(strings.ReplaceAll(line, " ", "\x00")), run)).To(Equal(want), line)
	}
}

// pretend starts a process whose command line is that of a machine with a socket below run.
func pretend(t testing.TB, run string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh")
	cmd.Args = []string{"qemu-system-x86_64", "-c", "read -r never; :", "-netdev", "stream,addr.path=" + run + "/f/l0.sock"}
	stdin, err := cmd.StdinPipe()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(cmd.Start()).To(Succeed())
	t.Cleanup(func() { _ = stdin.Close() })
	return cmd
}

func TestGCEndsTheMachinesOfTheDead(t *testing.T) {
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	dirs := b.cfg.Dirs
	leave(t, dirs, "00dead")
	orphan := pretend(t, filepath.Join(dirs.Run, "00dead"))
	living := pretend(t, filepath.Join(dirs.Run, b.ID()))
	dry, err := GC(within(t), dirs, GCDryRun)
	g.Expect(ids(dry), err).To(Equal([]string{"00dead"}))
	g.Expect(orphan.Process.Signal(syscall.Signal(0))).To(Succeed(), "a dry run ends nothing")
	found, err := GC(within(t), dirs, GCRemove)
	g.Expect(ids(found), err).To(Equal([]string{"00dead"}))
	g.Expect(orphan.Wait()).To(MatchError("signal: killed"))
	g.Expect(living.Process.Signal(syscall.Signal(0))).To(Succeed(), "the machine of a living lab")
	g.Expect(b.Close()).To(Succeed())
	g.Expect(living.Wait()).To(MatchError("signal: killed"), "Close leaves no process")
}
