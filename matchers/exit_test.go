package matchers_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"go.uber.org/goleak"

	. "ionlab/matchers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func failed() *result {
	return &result{
		code: 3, stdout: "inactive\n", stderr: "warning: one\nwarning: two\n",
		command: "systemctl is-active 'x y'", took: 1234567 * time.Microsecond,
	}
}

func TestExitWith(t *testing.T) {
	g := NewWithT(t)
	g.Expect(&result{code: 0}).To(ExitWith(0))
	g.Expect(&result{code: 255}).To(ExitWith(255))
	g.Expect(&result{code: 1}).NotTo(ExitWith(0))
	g.Expect(&handle{code: -1}).NotTo(ExitWith(0))
}

func TestExitWithMessage(t *testing.T) {
	r, g := record()
	g.Expect(failed()).To(ExitWith(0))
	NewWithT(t).Expect(r.only(t)).To(Equal(`Expected command
    systemctl is-active 'x y'
to exit with 0, but it exited with 3 after 1.235s
stdout:
    inactive
stderr:
    warning: one
    warning: two`))
}

func TestExitWithNegatedMessage(t *testing.T) {
	r, g := record()
	g.Expect(&result{command: "true"}).NotTo(ExitWith(0))
	NewWithT(t).Expect(r.only(t)).To(Equal(`Expected command
    true
not to exit with 0, but it exited with 0
stdout is empty
stderr is empty`))
}

func TestExitWithNamesTheSignal(t *testing.T) {
	r, g := record()
	g.Expect(&result{code: 137, signal: "KILL", command: "sleep 9", took: time.Second}).To(ExitWith(0))
	NewWithT(t).Expect(r.only(t)).To(ContainSubstring("to exit with 0, but signal KILL ended it (exit code 137) after 1s\n"))
}

func TestExitWithBoundsItsMessage(t *testing.T) {
	g := NewWithT(t)
	cases := map[string]struct{ stdout, want string }{
		"many lines": {strings.Repeat("line\n", 100) + "last\n", "stdout:\n    ... 305 bytes left out\n    line\n"},
		"one line":   {strings.Repeat("x", 5000) + "last", "stdout:\n    ... 2956 bytes left out\n    xxx"},
		"cut rune":   {strings.Repeat("é", 5000) + "last\n", "stdout:\n    ... 7956 bytes left out\n    éé"},
	}
	for name, test := range cases {
		r, fake := record()
		fake.Expect(&result{code: 1, stdout: test.stdout, command: strings.Repeat("c", 5000)}).To(ExitWith(0))
		message := r.only(t)
		g.Expect(message).To(ContainSubstring(test.want), name)
		g.Expect(message).To(ContainSubstring("last\nstderr is empty"), name)
		g.Expect(message).To(ContainSubstring("c... 2952 bytes left out\nto exit"), name)
		g.Expect(len(message)).To(BeNumerically("<", 6000), name)
		g.Expect(strings.ToValidUTF8(message, "?")).To(Equal(message), name)
	}
}

func TestExactlyFortyLinesAreNotCut(t *testing.T) {
	r, g := record()
	g.Expect(&result{code: 1, stdout: strings.Repeat("line\n", 40)}).To(ExitWith(0))
	NewWithT(t).Expect(r.only(t)).NotTo(ContainSubstring("left out"))
}

func TestMessagesHoldNoControlCharacters(t *testing.T) {
	r, g := record()
	g.Expect(&result{code: 1, stdout: "\x1b[31mred\x00\xff\r\nnext", command: "x\x07"}).To(ExitWith(0))
	NewWithT(t).Expect(r.only(t)).To(And(
		ContainSubstring("    \ufffd[31mred\ufffd\ufffd\n    next\n"), ContainSubstring("    x\ufffd\n")))
}

func TestExitWithRefuses(t *testing.T) {
	var noResult *result
	cases := map[string]struct {
		actual any
		code   int
		want   string
	}{
		"a string": {"text", 0, "ExitWith needs a result with ExitCode() int, and was given\n    <string>: text"},
		"nil":      {nil, 0, "ExitWith needs a result with ExitCode() int, and was given nil"},
		"a nil result": {
			noResult, 0,
			"ExitWith needs a result with ExitCode() int, and was given a nil *matchers_test.result: look at the error that came with it",
		},
		"no exit code":   {&result{}, 256, "ExitWith(256) can never match: exit codes are 0 to 255"},
		"the running -1": {&result{}, -1, "ExitWith(-1) can never match: exit codes are 0 to 255"},
	}
	for name, test := range cases {
		matched, err := ExitWith(test.code).Match(test.actual)
		g := NewWithT(t)
		g.Expect(matched).To(BeFalse(), name)
		g.Expect(err).To(MatchError(test.want), name)
	}
}

// exec is like labtest's Node.Exec.
type exec func(ctx context.Context, argv ...string) (*result, error)

func TestExpectTakesResultAndError(t *testing.T) {
	g := NewWithT(t)
	good := exec(func(context.Context, ...string) (*result, error) { return &result{}, nil })
	g.Expect(good(t.Context(), "true")).To(ExitWith(0))

	r, fake := record()
	bad := exec(func(context.Context, ...string) (*result, error) { return nil, errors.New("node desk is dead") })
	fake.Expect(bad(t.Context(), "true")).To(ExitWith(0))
	g.Expect(r.only(t)).To(ContainSubstring("node desk is dead"))
}

func TestEventuallyPollsAFunction(t *testing.T) {
	g := NewWithT(t)
	calls := 0
	var run exec = func(_ context.Context, argv ...string) (*result, error) {
		calls++
		g.Expect(argv).To(Equal([]string{"is-active", "x"}))
		switch calls {
		case 1:
			return nil, errors.New("connection refused")
		case 2:
			return &result{code: 3}, nil
		default:
			return &result{}, nil
		}
	}
	g.Eventually(t.Context(), run).WithArguments("is-active", "x").WithPolling(time.Millisecond).Should(ExitWith(0))
	g.Expect(calls).To(Equal(3))
}

func TestEventuallyEndsWithADeadMachine(t *testing.T) {
	r, fake := record()
	calls := 0
	run := exec(func(context.Context, ...string) (*result, error) {
		calls++
		if calls == 1 {
			return failed(), nil
		}
		return nil, StopTrying("node desk is dead").Wrap(errors.New("kernel panic"))
	})
	began := time.Now()
	fake.Eventually(t.Context(), run).WithArguments("true").Within(time.Minute).WithPolling(time.Millisecond).Should(ExitWith(0))
	g := NewWithT(t)
	g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
	g.Expect(r.only(t)).To(And(
		ContainSubstring("Told to stop trying"),
		ContainSubstring("node desk is dead: kernel panic"),
		ContainSubstring("to exit with 0, but it exited with 3")))
}

func TestEventuallyWaitsForAHandle(t *testing.T) {
	g := NewWithT(t)
	h := &handle{code: -1, out: gbytes.NewBuffer()}
	timer := time.AfterFunc(20*time.Millisecond, func() { h.exit(0) })
	defer timer.Stop()
	g.Eventually(t.Context(), h).WithPolling(time.Millisecond).Should(ExitWith(0))
}

func TestEventuallyGivesUpOnAnExitedHandle(t *testing.T) {
	r, fake := record()
	began := time.Now()
	fake.Eventually(&handle{code: 2, out: gbytes.BufferWithBytes([]byte("half"))}).Within(time.Minute).Should(ExitWith(0))
	g := NewWithT(t)
	g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
	g.Expect(r.only(t)).To(And(
		HavePrefix("No future change is possible.  Bailing out early"),
		HaveSuffix("Expected command\n    <command on desk>\nto exit with 0, but it exited with 2\nstdout until now:\n    half")))
}

func TestTimeOutOnARunningHandle(t *testing.T) {
	r, fake := record()
	fake.Eventually(&handle{code: -1, out: gbytes.NewBuffer()}).Within(5 * time.Millisecond).WithPolling(time.Millisecond).Should(ExitWith(0))
	NewWithT(t).Expect(r.only(t)).To(HaveSuffix("to exit with 0, but it still runs\nstdout until now is empty"))
}

func TestMessageOfAHandleThatExitedMeanwhile(t *testing.T) {
	h := &handle{code: -1, out: gbytes.NewBuffer()}
	g := NewWithT(t)
	g.Expect(ExitWith(0).Match(h)).To(BeFalse())
	h.exit(0)
	g.Expect(ExitWith(0).FailureMessage(h)).To(ContainSubstring("to exit with 0, but it exited with 0, but only after the last look"))
}
