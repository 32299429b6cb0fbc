package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// family is a script whose processes do all they can to be overlooked: a child in its own process group, one in its
// own session, one that ignores signals, one that is started late. All of them write their process ids into a folder.
const family = `
me() { sh -c 'echo $PPID' >"$D/$1"; }
(me plain; sleep 300; :) &
(trap '' TERM HUP INT; me stubborn; sleep 300; :) &
setsid sh -c 'echo $$ >"$D/session"; sleep 300; :' &
timeout 300 sh -c 'echo $$ >"$D/group"; sleep 300; :' &
(sleep 0.1; me late; sleep 300; :) &
me parent
while [ ! -s "$D/late" ] || [ ! -s "$D/session" ] || [ ! -s "$D/group" ]; do sleep 0.02; done
echo "all here"; echo "an error" >&2
sleep 300; :
`

// ready reads the process ids of a family when it is complete.
func ready(g Gomega, dir string) []int {
	names := []string{"plain", "stubborn", "session", "group", "late", "parent"}
	var pids []int
	g.Eventually(func() error {
		pids = nil
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
			if err != nil {
				return err
			}
			pids = append(pids, pid)
		}
		return nil
	}).WithTimeout(20 * time.Second).Should(Succeed())
	for _, pid := range pids {
		g.Expect(alive(pid)).To(BeTrue())
	}
	return pids
}

// alive tells whether a process exists that has not ended. What has ended stays in the table for a moment, as a zombie until
// its parent asks (Z) and then on its way out (X, proc(5)): under load that moment is long enough to be seen.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func expectGone(g Gomega, pids []int) {
	for _, pid := range pids {
		g.Expect(alive(pid)).To(BeFalse(), "process %d", pid)
	}
}

func TestCancelKillsEverything(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		ctx, cancel := context.WithCancelCause(soon(t))
		done := make(chan error, 1)
		go func() {
			_, err := c.Run(ctx, Cmd{Shell: family, Env: map[string]string{"D": home}})
			done <- err
		}()
		pids := ready(g, home)
		began := time.Now()
		cancel(errors.New("the spec is over"))
		err := <-done
		g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
		expectGone(g, pids)
		var failed *CommandError
		g.Expect(errors.As(err, &failed)).To(BeTrue())
		g.Expect(failed.Kill).NotTo(HaveOccurred())
		g.Expect(failed.Stdout).To(Equal("all here"))
		g.Expect(err).To(MatchError(And(ContainSubstring("the spec is over"), ContainSubstring(`on node "alice": after `),
			ContainSubstring("last stdout: all here"), ContainSubstring("last stderr: an error"))))
	})
}

func TestTimeoutKillsEverything(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		p, err := c.Start(soon(t), Cmd{Shell: family, Env: map[string]string{"D": home}, Timeout: 2 * time.Second})
		g.Expect(err).NotTo(HaveOccurred())
		pids := ready(g, home)
		res, err := p.Wait(soon(t))
		g.Expect(res).To(BeNil())
		g.Expect(errors.Is(err, context.DeadlineExceeded)).To(BeTrue())
		g.Expect(err).To(MatchError(ContainSubstring("timed out: it may run for 2s")))
		g.Expect(p.ExitCode()).To(Equal(codeUnknown))
		expectGone(g, pids)
	})
}

func TestKillAndClose(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		p, err := c.Start(soon(t), Cmd{Shell: family, Env: map[string]string{"D": home}})
		g.Expect(err).NotTo(HaveOccurred())
		pids := ready(g, home)
		g.Expect(p.ExitCode()).To(Equal(-1))
		g.Expect(p.Kill(soon(t))).To(Succeed())
		expectGone(g, pids)
		res, err := p.Wait(soon(t))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Signal()).To(Equal("SIGKILL"))
		g.Expect(p.ExitCode()).To(Equal(137))
		g.Expect(p.Kill(soon(t))).To(Succeed())
		g.Expect(p.Close()).To(Succeed())

		p, err = c.Start(soon(t), Cmd{Argv: []string{"sleep", "300"}})
		g.Expect(err).NotTo(HaveOccurred())
		pid, err := strconv.Atoi(p.PID())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(p.Close()).To(Succeed())
		g.Expect(alive(pid)).To(BeFalse())
		_, err = p.Wait(soon(t))
		g.Expect(err).To(MatchError(errProcessClosed))
		g.Expect((*Process)(nil).Close()).To(Succeed())
	})
}

// A guest may be so busy that a second passes before a shell of ours does anything.
func TestKillFindsEverythingInABusyGuest(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	c := newClient(t, s.config())
	p, err := c.Start(soon(t), Cmd{Shell: family, Env: map[string]string{"D": s.home}})
	g.Expect(err).NotTo(HaveOccurred())
	pids := ready(g, s.home)
	s.busy.Store(int64(time.Second))
	g.Expect(p.Kill(soon(t))).To(Succeed())
	expectGone(g, pids)
}

// A shell whose child dies first goes on, to an exit code of its own. The ids of a new namespace are small enough for a
// child, 10 or more, to sort before its parent, 9, as 100000 does before 99999.
func TestKillTakesTheProgramFirst(t *testing.T) {
	g := NewWithT(t)
	script := `for i in 2 3 4 5 6 7 8; do (:); done
setsid sh -c 'sleep 300; :' &
while read -r child <"/proc/$!/task/$!/children"; [ -z "$child" ]; do sleep 0.02; done
` + fmt.Sprintf(findTree, "$!") + `find_tree
echo $alive`
	out, err := exec.CommandContext(soon(t), "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc",
		"--kill-child", "sh", "-c", script).CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), "%s", out)
	g.Expect(strings.TrimSpace(string(out))).To(MatchRegexp(`^9 1\d$`))
}

func TestSignal(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		p, err := c.Start(soon(t), Cmd{
			Shell: `trap 'echo got it; exit 7' USR1; echo up >"$D/up"; while :; do sleep 0.05; done`,
			Env:   map[string]string{"D": home},
		})
		g.Expect(err).NotTo(HaveOccurred())
		defer p.Close()
		g.Eventually(func() error { _, err := os.Stat(filepath.Join(home, "up")); return err }).Should(Succeed())
		pid, err := strconv.Atoi(p.PID())
		g.Expect(err).NotTo(HaveOccurred())
		state := func() string {
			stat, _ := os.ReadFile("/proc/" + p.PID() + "/stat")
			_, rest, _ := strings.Cut(string(stat), ") ")
			return rest[:1]
		}
		g.Expect(p.Signal(soon(t), syscall.SIGSTOP)).To(Succeed(), "a signal that SSH has no name for")
		g.Eventually(state).Should(Equal("T"))
		g.Expect(p.Signal(soon(t), syscall.SIGCONT)).To(Succeed())
		g.Eventually(state).ShouldNot(Equal("T"))
		g.Expect(p.Signal(soon(t), syscall.SIGUSR1)).To(Succeed())
		res, err := p.Wait(soon(t))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.ExitCode()).To(Equal(7))
		g.Expect(res.Stdout()).To(Equal("got it\n"))
		g.Expect(alive(pid)).To(BeFalse())
		g.Expect(p.Signal(soon(t), syscall.SIGUSR1)).To(Succeed(), "too late is no error")
	})
}

func TestWaitDoesNotKill(t *testing.T) {
	g := NewWithT(t)
	c := newClient(t, newServer(t).config())
	ctx, cancel := context.WithCancel(soon(t))
	p, err := c.Start(ctx, Cmd{Argv: []string{"cat"}, Stdin: neverReader(t.Context().Done())})
	g.Expect(err).NotTo(HaveOccurred())
	cancel()
	short, cancelShort := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancelShort()
	_, err = p.Wait(short)
	g.Expect(err).To(MatchError(ContainSubstring("context deadline exceeded (it still ran, and was left running)")))
	g.Expect(p.ExitCode()).To(Equal(-1))
	g.Eventually(func() error { return p.Kill(soon(t)) }).WithTimeout(20 * time.Second).Should(Succeed())
}

// neverReader blocks until its channel is closed.
type neverReader <-chan struct{}

func (r neverReader) Read([]byte) (int, error) { <-r; return 0, io.EOF }

func TestCancelIsPromptWhenTheGuestHangs(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	c := newClient(t, s.config())
	c.cfg.KeepAliveTimeout, c.cfg.killGrace = time.Hour, killGrace
	p, err := c.Start(soon(t), Cmd{Argv: []string{"sleep", "300"}})
	g.Expect(err).NotTo(HaveOccurred())
	s.mute.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = c.Run(ctx, Cmd{Argv: []string{"true"}})
	g.Expect(errors.Is(err, context.DeadlineExceeded)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(ContainSubstring("it may still be running in the guest: the guest did not confirm within 1.8s")))
	g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
	g.Expect(p.Close()).To(MatchError(ContainSubstring("did not confirm")))
	s.mute.Store(false)
	pid, err := strconv.Atoi(p.PID())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(syscall.Kill(-pid, syscall.SIGKILL)).To(Succeed())
}
