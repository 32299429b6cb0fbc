package matchers

import (
	"fmt"

	"github.com/onsi/gomega/types"
)

// ExitWith succeeds if the command has exited with code, 0 to 255. On a command that still runs it fails, and
// Eventually goes on looking; once the command has exited with another code, Eventually gives up at once.
func ExitWith(code int) types.GomegaMatcher { return exitMatcher{code} }

type exitMatcher struct{ code int }

// Match compares what actual holds now.
func (m exitMatcher) Match(actual any) (bool, error) {
	if m.code < 0 || m.code > 255 {
		return false, fmt.Errorf("ExitWith(%d) can never match: exit codes are 0 to 255", m.code)
	}
	exiter, err := as[Exiter]("ExitWith", "ExitCode() int", actual)
	if err != nil {
		return false, err
	}
	return exiter.ExitCode() == m.code, nil
}

// FailureMessage has the command, how it ended, and the end of what it wrote.
func (m exitMatcher) FailureMessage(actual any) string {
	state := outcome(actual)
	if exiter, ok := actual.(Exiter); ok && exiter.ExitCode() == m.code {
		state += ", but only after the last look"
	}
	return fmt.Sprintf("Expected command\n%s\nto exit with %d, but %s%s", indent(describe(actual)), m.code, state, outputs(actual))
}

// NegatedFailureMessage has the same evidence.
func (m exitMatcher) NegatedFailureMessage(actual any) string {
	return fmt.Sprintf("Expected command\n%s\nnot to exit with %d, but %s%s",
		indent(describe(actual)), m.code, outcome(actual), outputs(actual))
}

// MatchMayChangeInTheFuture tells Eventually when to give up.
func (m exitMatcher) MatchMayChangeInTheFuture(actual any) bool { return mayChange(actual) }
