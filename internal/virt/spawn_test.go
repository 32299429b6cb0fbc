package virt

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// lives tells whether a process exists and is no zombie, which PID 1 of a container may leave lying.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// end kills a spawned process and waits for it.
func end(t testing.TB, p *process) {
	t.Helper()
	_ = p.cmd.Process.Kill()
	NewWithT(t).Eventually(p.done).WithTimeout(patience).Should(BeClosed())
}

func TestChildDiesWithItsOwner(t *testing.T) {
	g := NewWithT(t)
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), helperVar+"=spawner")
	out, err := owner.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(owner.Start()).To(Succeed())
	line, err := bufio.NewReader(out).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	child, err := strconv.Atoi(strings.TrimSpace(line))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(lives(child)).To(BeTrue())
	g.Expect(owner.Process.Signal(syscall.SIGKILL)).To(Succeed())
	g.Eventually(func() bool { return lives(child) }).WithTimeout(patience).Should(BeFalse())
	g.Expect(owner.Wait()).To(MatchError("signal: killed"))
}

func TestChildSurvivesTheThreadThatAskedForIt(t *testing.T) {
	g := NewWithT(t)
	var p *process
	var err error
	var asking sync.WaitGroup
	asking.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends here, and would take a child of its own along
		p, err = spawn(exec.Command("sleep", "300"))
	})
	asking.Wait()
	g.Expect(err).NotTo(HaveOccurred())
	defer end(t, p)
	g.Consistently(p.ended, 200*time.Millisecond).Should(BeFalse())
}

func TestChildHasAProcessGroupOfItsOwn(t *testing.T) {
	g := NewWithT(t)
	p, err := spawn(exec.Command("sleep", "300"))
	g.Expect(err).NotTo(HaveOccurred())
	defer end(t, p)
	group, err := syscall.Getpgid(p.cmd.Process.Pid)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(group).To(Equal(p.cmd.Process.Pid), "or a ^C would end the machines before their evidence is taken")
}

func TestSpawnTellsHowItEnded(t *testing.T) {
	g := NewWithT(t)
	p, err := spawn(exec.Command("sh", "-c", "echo one; echo two >&2; exit 7"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(p.done).WithTimeout(patience).Should(BeClosed())
	g.Expect(p.ended()).To(BeTrue())
	g.Expect(p.err).To(MatchError("exit status 7"))
	g.Expect(p.output.String()).To(Equal("one\ntwo"))
	_, err = spawn(exec.Command("/nonexistent/program"))
	g.Expect(err).To(MatchError(HavePrefix("start /nonexistent/program: ")))
}

func TestTailKeepsTheEnd(t *testing.T) {
	g := NewWithT(t)
	out := &tail{max: 10}
	for _, text := range []string{"abcdef", "ghij", "klmno", strings.Repeat("x", 30) + "the end\n"} {
		n, err := out.Write([]byte(text))
		g.Expect(n, err).To(Equal(len(text)))
		g.Expect(len(out.buf)).To(BeNumerically("<=", 10))
	}
	g.Expect(out.String()).To(Equal("xxthe end"))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { _, _ = out.Write([]byte("z")); _ = out.String() })
	}
	all.Wait()
	g.Expect(out.String()).To(HaveSuffix("zzzzzzzz"))
}
