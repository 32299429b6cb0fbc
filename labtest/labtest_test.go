package labtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"

	"ionlab/internal/guest"
	"ionlab/internal/lab"
	"ionlab/matchers"
)

// expand puts a path into a message.
func expand(text, path string) string { return strings.ReplaceAll(text, "FILE", path) }

// newTestLab is a lab that never starts.
func newTestLab(t testing.TB, opts ...Option) *Lab {
	t.Helper()
	g := NewWithT(t)
	root := t.TempDir()
	for name, dir := range map[string]string{"LABTEST_RUN_DIR": "r", "LABTEST_STATE_DIR": "s", "LABTEST_CACHE_DIR": "c"} {
		t.Setenv(name, filepath.Join(root, dir))
	}
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	file := filepath.Join(root, "pair.yaml")
	g.Expect(os.WriteFile(file, []byte("nodes: [{name: alice}, {name: bob}]"), 0o600)).To(Succeed())
	l, err := newLab(file, opts)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		g := NewWithT(t)
		g.Expect(l.close()).To(Succeed())
		g.Expect(filepath.Join(root, "r")).NotTo(BeAnExistingFile())
	})
	return l
}

func dead() error {
	return fmt.Errorf("run true on node %q: %w", "alice", &lab.DeadError{Node: "alice", Cause: "its kernel panicked", Console: []string{"the last words"}})
}

func TestHopelessEndsAnEventuallyAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"dead":   {dead(), []string{"its kernel panicked", "the last words", `node "alice" is dead`}},
		"closed": {fmt.Errorf("node %q: %w", "alice", lab.ErrClosed), []string{"the lab is closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			var failure string
			inner := NewGomega(func(message string, _ ...int) { failure = message })
			tries := 0
			began := time.Now()
			inner.Eventually(func() (*Result, error) { tries++; return nil, hopeless(test.err) }).
				WithTimeout(time.Minute).WithPolling(time.Millisecond).Should(matchers.ExitWith(0))
			g := NewWithT(t)
			g.Expect(tries).To(Equal(1))
			g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
			for _, want := range test.want {
				g.Expect(failure).To(ContainSubstring(want))
			}
		})
	}
}

func TestHopelessKeepsTheCause(t *testing.T) {
	g := NewWithT(t)
	g.Expect(hopeless(nil)).To(Succeed())
	plain := errors.New("connection refused")
	g.Expect(hopeless(plain)).To(BeIdenticalTo(plain), "a later try may succeed")
	g.Expect(hopeless(fmt.Errorf("x: %w", lab.ErrOff))).To(MatchError("x: it is powered off"))
	var found *lab.DeadError
	g.Expect(errors.As(hopeless(dead()), &found)).To(BeTrue())
	g.Expect(found.Node).To(Equal("alice"))
	g.Expect(errors.Is(hopeless(fmt.Errorf("x: %w", lab.ErrClosed)), lab.ErrClosed)).To(BeTrue())
}

func TestOtherErrorsAreTriedAgain(t *testing.T) {
	g := NewWithT(t)
	tries := 0
	g.Eventually(func() error {
		if tries++; tries < 3 {
			return hopeless(errors.New("connection refused"))
		}
		return nil
	}).WithTimeout(patience).WithPolling(time.Millisecond).Should(Succeed())
	g.Expect(tries).To(Equal(3))
}

func TestResultsForMatchersAndMessages(t *testing.T) {
	g := NewWithT(t)
	client := newGuest(t, nil)
	res := result(t, client, "sh", "-c", "echo out; echo err >&2; exit 3")
	g.Expect(res.ExitCode()).To(Equal(3))
	g.Expect(res.Stdout()).To(Equal("out\n"))
	g.Expect(res.Stderr()).To(Equal("err\n"))
	g.Expect(res.Signal()).To(BeEmpty())
	g.Expect(res.Duration()).To(BeNumerically(">", 0))
	g.Expect(res.Command()).To(ContainSubstring("exit 3"))
	g.Expect(res).To(matchers.ExitWith(3))
	g.Expect(res).To(matchers.OutputContaining("out"))
	g.Expect(res.GomegaString()).To(And(ContainSubstring("exit code 3"), ContainSubstring("out"), ContainSubstring("err")))
	g.Expect((*Result)(nil).GomegaString()).To(Equal("<no result>"))
	long := result(t, client, "sh", "-c", "yes | head -c 1000000")
	g.Expect(len(long.GomegaString())).To(BeNumerically("<", 20000), "bounded, for messages")
}

// start starts a command as Node.Start does.
func start(t testing.TB, client *guest.Client, shell string) *Command {
	t.Helper()
	c := &Command{Out: gbytes.NewBuffer(), Err: gbytes.NewBuffer(), node: "alice"}
	process, err := client.Start(within(t), guest.Cmd{Shell: shell, Stdout: c.Out, Stderr: c.Err})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	c.process = process
	return c
}

func TestCommandsForMatchersAndMessages(t *testing.T) {
	g := NewWithT(t)
	c := start(t, newGuest(t, nil), "echo up; read -r line; echo oops >&2; exit 4")
	_ = c // its standard input is empty, so that it ends by itself
	g.Eventually(c).WithTimeout(patience).Should(gbytes.Say("up"))
	g.Eventually(c).WithTimeout(patience).Should(gexec.Exit(4))
	g.Eventually(c.Done()).WithTimeout(patience).Should(BeClosed())
	g.Expect(c).To(matchers.ExitWith(4))
	g.Expect(c.Err).To(gbytes.Say("oops"))
	g.Expect(c.GomegaString()).To(Equal("<command on alice, exit code 4>"))
	res, err := c.Wait(within(t))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.ExitCode()).To(Equal(4))
	g.Expect(c.Signal(within(t), syscall.SIGTERM)).To(Succeed(), "it has ended already")
	g.Expect(c.Kill(within(t))).To(Succeed())
}

func TestCommandThatRuns(t *testing.T) {
	g := NewWithT(t)
	ending := make(chan struct{})
	client := newGuest(t, func(c *guest.Config) {
		c.Dead = ending
		c.Check = func() error {
			select {
			case <-ending:
				return dead()
			default:
				return nil
			}
		}
	})
	c := start(t, client, "sleep 2; exit 1") // which the death of its machine does not wait for
	g.Expect(c.ExitCode()).To(Equal(-1))
	g.Expect(c.GomegaString()).To(Equal("<command on alice, exit code -1>"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Wait(ctx)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(c.ExitCode()).To(Equal(-1), "when ctx ends first, the command runs on")
	close(ending)
	_, err = c.Wait(within(t))
	var found *lab.DeadError
	g.Expect(errors.As(err, &found)).To(BeTrue(), "%v", err)
	g.Expect(c.ExitCode()).To(Equal(255))
	for _, err := range []error{c.Signal(within(t), syscall.SIGTERM), c.Kill(within(t))} {
		g.Expect(errors.As(err, &found)).To(BeTrue(), "%v", err)
	}
}

func TestOptions(t *testing.T) {
	g := NewWithT(t)
	log := slog.New(slog.DiscardHandler)
	var s settings
	for _, opt := range []Option{WithLogger(log), WithBootTimeout(time.Second), WithInitTimeout(time.Hour), AllowFailedUnits(), WithSeed(9), WithoutMeasuring()} {
		opt(&s)
	}
	g.Expect(s).To(Equal(settings{
		log: log, limits: lab.Limits{Boot: time.Second, Init: time.Hour}, allowFailedUnits: true, skipMeasuring: true, seed: 9,
	}))
	l := newTestLab(t, AllowFailedUnits())
	g.Expect(l.inner).NotTo(BeNil())
}

func TestNewLabSaysWhatIsWrong(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	_, err := newLab("/nonexistent/lab.yaml", nil)
	g.Expect(err).To(MatchError("read topology: open /nonexistent/lab.yaml: no such file or directory"))
	file := filepath.Join(t.TempDir(), "lab.yaml")
	g.Expect(os.WriteFile(file, []byte("nodes: [{nmae: a}]"), 0o600)).To(Succeed())
	_, err = newLab(file, nil)
	g.Expect(err).To(MatchError(HavePrefix(file + ":1:")))
	g.Expect(os.WriteFile(file, []byte("nodes: [{name: a}]"), 0o600)).To(Succeed())
	t.Setenv("LABTEST_RUN_DIR", "relative")
	_, err = newLab(file, nil)
	g.Expect(err).To(MatchError(`LABTEST_RUN_DIR="relative": give an absolute path`))
	t.Setenv("LABTEST_RUN_DIR", "")
	t.Setenv("LIBVIRT_DEFAULT_URI", "qemu:///system")
	_, err = newLab(file, nil)
	g.Expect(err).To(MatchError(ContainSubstring("a libvirt of your own is not supported yet")))
}

func TestLabThatNeverStarted(t *testing.T) {
	g := NewWithT(t)
	l := newTestLab(t)
	g.Expect(l.ID()).To(BeEmpty())
	g.Expect(l.SSHConfig()).To(BeEmpty())
	g.Expect(l.GomegaString()).To(Equal("<lab pair ()>"))
	var names []string
	for _, node := range l.Nodes() {
		names = append(names, node.Name())
		g.Expect(node.Lab()).To(BeIdenticalTo(l))
		g.Expect(node.Status()).To(Equal("not started"))
		g.Expect(node.GomegaString()).To(MatchRegexp(`^<node \w+: not started for \d+s>$`))
		g.Expect(node.Console().Contents()).To(BeEmpty())
	}
	g.Expect(names).To(Equal([]string{"alice", "bob"}))
	g.Expect(l.Node("bob").Name()).To(Equal("bob"))
	ctx := within(t)
	alice := l.Node("alice")
	_, err := alice.Exec(ctx, "true")
	g.Expect(err).To(MatchError(`node "alice": it is powered off (not started)`))
	g.Expect(alice.WriteFile(ctx, "/x", nil, 0o600)).To(MatchError(lab.ErrOff))
	g.Expect(alice.Upload(ctx, "/x", "/x")).To(MatchError(lab.ErrOff))
	_, err = alice.Start(ctx, Cmd{Shell: "true"})
	g.Expect(err).To(MatchError(lab.ErrOff))
	g.Expect(l.report()).To(Equal("lab pair (), \n  alice: not started for 0s\n  bob: not started for 0s\n"))
	g.Expect(l.close()).To(Succeed())
	g.Expect(l.close()).To(Succeed(), "a second time")
	g.Expect(alice.Console().Closed()).To(BeTrue())
	_, err = alice.Exec(ctx, "true")
	g.Expect(err).To(MatchError(lab.ErrClosed))
	g.Expect(err.Error()).To(ContainSubstring("no later try can succeed"))
}

func TestReproduceRunsTheSpecAgain(t *testing.T) {
	g := NewWithT(t)
	l := newTestLab(t, WithSeed(77))
	dir, err := os.Getwd()
	g.Expect(err).NotTo(HaveOccurred())
	spec := types.SpecReport{
		LeafNodeType: types.NodeTypeIt, LeafNodeText: "works",
		LeafNodeLocation: types.CodeLocation{FileName: "/work/suites/lab/power_test.go", LineNumber: 42},
	}
	g.Expect(l.reproduce(spec)).To(MatchRegexp(`^cd '?%s'?\nLABTEST_SEED=77 ginkgo --seed=\d+ --focus-file='power_test.go:42' \.\n$`, dir))
	suite := types.SpecReport{
		LeafNodeType:     types.NodeTypeBeforeSuite,
		LeafNodeLocation: types.CodeLocation{FileName: "/work/suites/lab/suite_test.go", LineNumber: 7},
	}
	g.Expect(l.reproduce(suite)).To(MatchRegexp(`^cd '?%s'?\nLABTEST_SEED=77 ginkgo --seed=\d+ \.\n$`, dir), "no spec stands on that line")
}

func TestArtifactsRoot(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("LABTEST_ARTIFACTS", "")
	dir, err := os.Getwd()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(artifactsRoot()).To(Equal(filepath.Join(dir, "labtest-artifacts")))
	t.Setenv("LABTEST_ARTIFACTS", "/out/artifacts")
	g.Expect(artifactsRoot()).To(Equal("/out/artifacts"))
}

func TestRegistryKnowsTheLivingLabs(t *testing.T) {
	g := NewWithT(t)
	var r registry
	a, b := &Lab{}, &Lab{}
	r.add(a)
	r.add(b)
	g.Expect(r.all()).To(Equal([]*Lab{a, b}))
	before := r.all()
	r.remove(a)
	r.remove(a)
	g.Expect(r.all()).To(HaveExactElements(BeIdenticalTo(b)))
	g.Expect(before).To(HaveLen(2), "a list that was given out stays")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { l := &Lab{}; r.add(l); _ = r.all(); r.remove(l) })
	}
	all.Wait()
	g.Expect(r.all()).To(HaveLen(1))
}

func TestEntriesOfTheTranscript(t *testing.T) {
	g := NewWithT(t)
	began, broken := time.Unix(1700000000, 0), errors.New("broken")
	e := entryOf(guest.Event{
		Node: "alice", Kind: "exec", Detail: "uname -r", Start: began, Duration: time.Second, ExitCode: 3, Stdout: "o", Stderr: "e", Err: broken,
	})
	g.Expect(e.Node).To(Equal("alice"))
	g.Expect(e.Operation).To(Equal("exec"))
	g.Expect(e.Detail).To(Equal("uname -r"))
	g.Expect(e.Time).To(Equal(began))
	g.Expect(e.Duration).To(Equal(time.Second))
	g.Expect(e.ExitCode).To(Equal(3))
	g.Expect(e.Stdout + e.Stderr).To(Equal("oe"))
	g.Expect(e.Err).To(MatchError(broken))
}

func TestCmdInBrief(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Cmd{Argv: []string{"echo", "two  words\n"}}.brief()).To(Equal("echo two words"))
	g.Expect(Cmd{Shell: "a |\n  b"}.brief()).To(Equal("a | b"))
	long := Cmd{Shell: strings.Repeat("é", 150)}.brief()
	g.Expect(long).To(Equal(strings.Repeat("é", 100) + "..."))
}

func TestCmdCarriesEverythingToTheGuest(t *testing.T) {
	g := NewWithT(t)
	stdin := strings.NewReader("x")
	c := Cmd{
		Argv: []string{"a"}, Shell: "b", Stdin: stdin, Env: map[string]string{"K": "V"}, Dir: "/d", User: "u", Session: true, Timeout: time.Second,
	}
	g.Expect(c.guest()).To(Equal(guest.Cmd{
		Argv: []string{"a"}, Shell: "b", Stdin: stdin, Env: map[string]string{"K": "V"}, Dir: "/d", User: "u", Session: true, Timeout: time.Second,
	}))
}
