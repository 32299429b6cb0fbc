package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestTheHostRunner(t *testing.T) {
	g := NewWithT(t)
	var run hostRunner
	var out bytes.Buffer
	var lines []string
	err := run.Run(t.Context(), command{
		Argv: []string{"sh", "-c", `echo to stdout; printf 'a\r50%%\r100%%\nlast' >&2; exit 7`},
		Line: func(l string) { lines = append(lines, l) }, Out: &out,
	})
	g.Expect(out.String()).To(Equal("to stdout\n"))
	g.Expect(lines).To(Equal([]string{"100%", "last"}))
	g.Expect(exitStatus(err)).To(Equal(7))
	g.Expect(err).To(MatchError("sh: exit status 7; its last lines:\n  100%\n  last"))
	g.Expect(exitStatus(errors.New("x"))).To(Equal(-1))

	err = run.Run(t.Context(), command{Argv: []string{"sh", "-c", "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done; exit 1"}})
	g.Expect(strings.Count(err.Error(), "\n")).To(Equal(tailLines))
	g.Expect(err).To(MatchError(HaveSuffix("line 100")))

	g.Expect(run.Find("sh")).To(Succeed())
	g.Expect(run.Find("no-such-tool-anywhere")).NotTo(Succeed())
}

func TestTheHostRunnerEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := hostRunner{}.Run(ctx, command{Argv: []string{"sh", "-c", "echo begun; exec sleep 60"}})
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(ContainSubstring("begun")))
	g.Expect(time.Since(began)).To(BeNumerically("<", 20*time.Second))
}

func TestNamespaces(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	s.euid = 0
	g.Expect(s.namespace()).NotTo(ContainElement("--user"))
	g.Expect(s.canBuild(t.Context(), "tar")).To(Succeed())
	s.euid = 1000
	g.Expect(s.namespace()).To(ContainElements("--user", "--map-root-user", "--map-auto", "--kill-child=SIGKILL"))
	s.osRelease = "ID=debian\n"
	tools.absent = map[string]bool{"newuidmap": true}
	g.Expect(s.canBuild(t.Context(), "tar")).To(MatchError(ContainSubstring("newuidmap is not installed: sudo apt-get install uidmap")))
	s.run = refusing{tools}
	tools.absent = nil
	g.Expect(s.canBuild(t.Context(), "tar")).To(MatchError(ContainSubstring("sudo usermod --add-subuids")))
	s.euid = 0
	g.Expect(s.canBuild(t.Context(), "tar")).To(MatchError(ContainSubstring("CAP_SYS_ADMIN")))
}

// refusing is a host that forbids namespaces.
type refusing struct{ *fakeTools }

func (refusing) Run(context.Context, command) error { return exitError(1) }

func TestTheScriptsAreShell(t *testing.T) {
	for name, text := range map[string]string{"base": libScript + baseScript, "derive": libScript + deriveScript} {
		path := filepath.Join(t.TempDir(), name)
		g := NewWithT(t)
		g.Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
		out, err := exec.CommandContext(t.Context(), "sh", "-n", path).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), "%s: %s", name, out)
	}
}

func TestProxyEnv(t *testing.T) {
	g := NewWithT(t)
	g.Expect(proxyEnv([]string{"HTTPS_PROXY=a", "http_proxy=b", "HOME=/x", "no_proxy=c"})).To(Equal([]string{"HTTPS_PROXY=a", "http_proxy=b", "no_proxy=c"}))
}

func TestEventsAreRateLimited(t *testing.T) {
	g := NewWithT(t)
	at := &clock{now: time.Now()}
	var got []Event
	s, _ := newStore(t, func(c *Config) {
		c.Now = at.Now
		c.Progress = func(e Event) { got = append(got, e) }
	})
	rep := s.report("x")
	rep.begin("download", "")
	for i := range 100 {
		at.advance(10 * time.Millisecond)
		rep.bytes("download", int64(i), 99)
	}
	g.Expect(len(got)).To(BeNumerically("~", 7, 1), "one to begin with, one each 200 ms, the last")
	g.Expect(got[len(got)-1]).To(Equal(Event{Image: "x", Stage: "download", Done: 99, Total: 99}))
	rep.line("packages", "a new stage is told at once")
	rep.line("packages", "dropped")
	g.Expect(got[len(got)-1].Note).To(Equal("a new stage is told at once"))
}
