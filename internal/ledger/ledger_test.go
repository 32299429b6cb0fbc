package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"ionlab/internal/ledger"
)

// holderVar makes this test binary a process that holds a claim: "DIR BUDGET LAB MB".
const holderVar = "LEDGER_TEST_HOLDER"

func TestMain(m *testing.M) {
	if args := os.Getenv(holderVar); args != "" {
		os.Exit(hold(strings.Fields(args), os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

// hold reserves, says so, and ends with its standard input.
func hold(args []string, out io.Writer) int {
	budget, _ := strconv.Atoi(args[1])
	mb, _ := strconv.Atoi(args[3])
	books, err := ledger.Open(ledger.Config{Dir: args[0], BudgetMB: budget})
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	r, err := books.Reserve(context.Background(), ledger.Claim{Lab: args[2], Topology: "pair", Owner: "a test", MB: mb},
		func(why string) { fmt.Fprintln(out, "waits:", why) })
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	fmt.Fprintln(out, "holds")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	if err := r.Close(); err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	return 0
}

// process is another process with a claim.
type process struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin interface{ Close() error }
}

func start(t *testing.T, dir string, budget int, lab string, mb int) *process {
	t.Helper()
	g := NewWithT(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %d", holderVar, dir, budget, lab, mb))
	stdin, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	stdout, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	p := &process{cmd: cmd, lines: bufio.NewScanner(stdout), stdin: stdin}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return p
}

// next is the process's next line; empty at its end.
func (p *process) next() string {
	p.lines.Scan()
	return p.lines.Text()
}

func open(g *WithT, cfg ledger.Config) *ledger.Ledger {
	books, err := ledger.Open(cfg)
	g.Expect(err).NotTo(HaveOccurred())
	return books
}

func silent(string) {}

func TestLabsThatFitAreAdmitted(t *testing.T) {
	g := NewWithT(t)
	books := open(g, ledger.Config{Dir: filepath.Join(t.TempDir(), "memory"), BudgetMB: 1000})
	a, err := books.Reserve(t.Context(), ledger.Claim{Lab: "a", Topology: "one", MB: 600}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	b, err := books.Reserve(t.Context(), ledger.Claim{Lab: "b", Topology: "two", MB: 400}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	claims, err := books.Claims(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(claims).To(HaveExactElements(
		And(HaveField("Lab", "a"), HaveField("MB", 600), HaveField("Waiting", false)), HaveField("Lab", "b")))
	g.Expect(a.Close()).To(Succeed())
	g.Expect(a.Close()).To(Succeed(), "again")
	g.Expect(b.Close()).To(Succeed())
	g.Expect(books.Claims(t.Context())).To(BeEmpty())
	g.Expect((*ledger.Reservation)(nil).Close()).To(Succeed())
}

func TestALabWaitsForOthersAndSaysWhich(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	first := start(t, dir, 1000, "aaaaaa", 600)
	g.Expect(first.next()).To(Equal("holds"))
	second := start(t, dir, 1000, "bbbbbb", 500)
	g.Expect(second.next()).To(Equal("waits: it needs 500 MiB; of 1000 MiB for all labs 600 are held: lab aaaaaa (pair, a test) 600 MiB"))
	third := start(t, dir, 1000, "cccccc", 300)
	g.Expect(third.next()).To(And(HavePrefix("waits: it needs 300 MiB"), HaveSuffix("before it waits lab bbbbbb (pair, a test) 500 MiB")),
		"it would fit, but has come later")
	g.Expect(first.stdin.Close()).To(Succeed())
	g.Expect(second.next()).To(Equal("holds"))
	g.Eventually(third.next).Should(Equal("holds"))
}

func TestAKilledOwnerGivesBackWhatItHeld(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	owner := start(t, dir, 1000, "aaaaaa", 600)
	g.Expect(owner.next()).To(Equal("holds"))
	waiting := start(t, dir, 1000, "bbbbbb", 700)
	g.Expect(waiting.next()).To(HavePrefix("waits: "))
	heir := start(t, dir, 1000, "cccccc", 800)
	g.Expect(heir.next()).To(HavePrefix("waits: "))
	g.Expect(waiting.cmd.Process.Kill()).To(Succeed())
	g.Expect(owner.cmd.Process.Kill()).To(Succeed())
	g.Eventually(heir.next).Should(Equal("holds"))
	books := open(g, ledger.Config{Dir: dir, BudgetMB: 1000})
	g.Expect(books.Claims(t.Context())).To(HaveExactElements(HaveField("Lab", "cccccc")))
	g.Expect(filepath.Glob(filepath.Join(dir, "*.claim"))).To(HaveLen(1), "the dead ones' files are gone")
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	g := NewWithT(t)
	books := open(g, ledger.Config{Dir: t.TempDir(), BudgetMB: 1000})
	held, err := books.Reserve(t.Context(), ledger.Claim{Lab: "aaaaaa", Topology: "wan", MB: 800}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = books.Reserve(ctx, ledger.Claim{Lab: "b", MB: 400}, func(string) { cancel(errors.New("the spec timed out")) })
	g.Expect(err).To(MatchError(And(HavePrefix("wait for memory: gave up after"), ContainSubstring("the spec timed out"),
		ContainSubstring("last cause: it needs 400 MiB; of 1000 MiB for all labs 800 are held: lab aaaaaa (wan) 800 MiB"))))
	g.Expect(books.Claims(t.Context())).To(HaveLen(1), "whoever gives up leaves the queue")
	g.Expect(held.Close()).To(Succeed())
}

func TestWhatNeverFitsIsRefused(t *testing.T) {
	g := NewWithT(t)
	available := 500
	books := open(g, ledger.Config{Dir: t.TempDir(), BudgetMB: 1000, AvailableMB: func() int { return available }})
	_, err := books.Reserve(t.Context(), ledger.Claim{MB: 1001}, silent)
	g.Expect(err).To(MatchError(ledger.ErrTooLarge))
	g.Expect(err).To(MatchError(ContainSubstring("the lab needs 1001 MiB, and all labs together may have 1000")))
	_, err = books.Reserve(t.Context(), ledger.Claim{MB: 501}, silent)
	g.Expect(err).To(MatchError(ledger.ErrTooLarge))
	g.Expect(err).To(MatchError(ContainSubstring("needs 501 MiB, the host has 500 left, and no other lab has any")))
	g.Expect(books.Claims(t.Context())).To(BeEmpty())

	// With another lab there is hope: its end gives back what the host lacks.
	held, err := books.Reserve(t.Context(), ledger.Claim{Lab: "aaaaaa", MB: 100}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	var why string
	ctx, cancel := context.WithCancel(t.Context())
	_, err = books.Reserve(ctx, ledger.Claim{MB: 501}, func(text string) { why = text; cancel() })
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(why).To(HaveSuffix("; other programs leave too little of the host's memory"))
	available = 0 // not known
	other, err := books.Reserve(t.Context(), ledger.Claim{MB: 900}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(errors.Join(held.Close(), other.Close())).To(Succeed())
}

func TestManyAtOnceNeverHaveMoreThanThereIs(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			books := open(g, ledger.Config{Dir: dir, BudgetMB: 1000})
			r, err := books.Reserve(t.Context(), ledger.Claim{Lab: fmt.Sprint(i), MB: 400}, silent)
			g.Expect(err).NotTo(HaveOccurred())
			claims, err := books.Claims(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			sum := 0
			for _, c := range claims {
				if !c.Waiting {
					sum += c.MB
				}
			}
			g.Expect(sum).To(BeNumerically("<=", 1000))
			g.Expect(r.Close()).To(Succeed())
		})
	}
	wg.Wait()
}

func TestAFolderThatCannotBeMadeIsToldOf(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
	_, err := ledger.Open(ledger.Config{Dir: filepath.Join(file, "memory")})
	g.Expect(err).To(MatchError(HavePrefix("make the ledger of memory: ")))
}
