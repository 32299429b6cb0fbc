package matchers

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/onsi/gomega/types"
)

// OutputContaining succeeds if the command's standard output has text in it.
func OutputContaining(text string) types.GomegaMatcher {
	return streamMatcher{name: "OutputContaining", stream: stdout{}, want: substring(text)}
}

// OutputMatching succeeds if a part of the command's standard output matches the regular expression, in the syntax of
// package regexp; (?m) makes ^ and $ look at lines. What does not compile is an error.
func OutputMatching(expression string) types.GomegaMatcher {
	return streamMatcher{name: "OutputMatching", stream: stdout{}, want: pattern(expression)}
}

// ErrorOutputContaining succeeds if the command's standard error has text in it.
func ErrorOutputContaining(text string) types.GomegaMatcher {
	return streamMatcher{name: "ErrorOutputContaining", stream: stderr{}, want: substring(text)}
}

// stream is what a matcher looks at.
type stream interface {
	name() string
	read(matcher string, actual any) (string, error)
}

type stdout struct{}

func (stdout) name() string { return "stdout" }

func (stdout) read(matcher string, actual any) (string, error) {
	source, err := as[Outputter](matcher, "Stdout() string", actual)
	if err != nil {
		return "", hint(actual, err)
	}
	return source.Stdout(), nil
}

type stderr struct{}

func (stderr) name() string { return "stderr" }

func (stderr) read(matcher string, actual any) (string, error) {
	source, err := as[ErrorOutputter](matcher, "Stderr() string", actual)
	if err != nil {
		return "", hint(actual, err)
	}
	return source.Stderr(), nil
}

// hint tells what to use on a handle, whose output is a stream.
func hint(actual any, err error) error {
	if exiter, other := as[Exiter]("", "", actual); other == nil && exiter.ExitCode() == running {
		return fmt.Errorf("%w\nThat command still runs: wait for its result, or use gbytes.Say", err)
	}
	return err
}

// wanted finds what a matcher looks for.
type wanted interface {
	find(text string) (at []int, err error) // the first place, or nil
	verb() string
	String() string
}

type substring string

func (s substring) find(text string) ([]int, error) {
	at := strings.Index(text, string(s))
	if at < 0 {
		return nil, nil
	}
	return []int{at, at + len(s)}, nil
}
func (substring) verb() string     { return "contain" }
func (s substring) String() string { return string(s) }

type pattern string

func (p pattern) find(text string) ([]int, error) {
	compiled, err := regexp.Compile(string(p))
	if err != nil {
		return nil, fmt.Errorf("OutputMatching was given a bad regular expression: %w", err)
	}
	return compiled.FindStringIndex(text), nil
}
func (pattern) verb() string     { return "match" }
func (p pattern) String() string { return string(p) }

type streamMatcher struct {
	name   string
	stream stream
	want   wanted
}

// Match compares what actual holds now.
func (m streamMatcher) Match(actual any) (bool, error) {
	text, err := m.stream.read(m.name, actual)
	if err != nil {
		return false, err
	}
	at, err := m.want.find(text)
	return at != nil, err
}

// FailureMessage has the command, how it ended, and the end of what it wrote.
func (m streamMatcher) FailureMessage(actual any) string {
	return m.message(actual, "to") + outputs(actual)
}

// NegatedFailureMessage also shows the line that should not be there, which may be far from the end.
func (m streamMatcher) NegatedFailureMessage(actual any) string {
	found := ""
	if text, err := m.stream.read(m.name, actual); err == nil {
		if at, err := m.want.find(text); err == nil && at != nil {
			found = fmt.Sprintf("\nfound at line %d:\n%s", 1+strings.Count(text[:at[0]], "\n"), indent(excerpt(text, at[0], at[1])))
		}
	}
	return m.message(actual, "not to") + found + outputs(actual)
}

// excerpt returns the lines in which text[from:to] stands, as far as they are near.
func excerpt(text string, from, to int) string {
	const near = 200
	begin := 1 + strings.LastIndex(text[:from], "\n")
	end := len(text)
	if next := strings.Index(text[to:], "\n"); next >= 0 {
		end = to + next
	}
	begin, end = max(begin, from-near), min(end, to+near)
	return clip(strings.TrimRight(text[begin:end], "\n"))
}

func (m streamMatcher) message(actual any, to string) string {
	message := fmt.Sprintf("Expected %s of command\n%s\n%s %s\n%s",
		m.stream.name(), indent(describe(actual)), to, m.want.verb(), indent(clip(m.want.String())))
	if state := outcome(actual); state != "" {
		message += "\n" + state
	}
	return message
}

// MatchMayChangeInTheFuture tells Eventually when to give up.
func (m streamMatcher) MatchMayChangeInTheFuture(actual any) bool { return mayChange(actual) }
