package matchers_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/types"

	. "ionlab/matchers"
)

func TestOutputs(t *testing.T) {
	actual := &result{stdout: "one\ntwo\n", stderr: "three\n"}
	cases := []struct {
		matcher types.GomegaMatcher
		want    bool
	}{
		{OutputContaining("two"), true},
		{OutputContaining("three"), false},
		{OutputContaining(""), true},
		{OutputContaining("o.e"), false},
		{OutputMatching("o.e"), true},
		{OutputMatching("^one\ntwo\n$"), true},
		{OutputMatching("^two"), false},
		{OutputMatching("(?m)^two$"), true},
		{ErrorOutputContaining("three"), true},
		{ErrorOutputContaining("two"), false},
	}
	for _, test := range cases {
		g := NewWithT(t)
		g.Expect(test.matcher.Match(actual)).To(Equal(test.want))
	}
}

func TestOutputMessages(t *testing.T) {
	const evidence = "\nit exited with 3 after 1.235s\nstdout:\n    inactive\nstderr:\n    warning: one\n    warning: two"
	const command = " of command\n    systemctl is-active 'x y'\n"
	cases := map[string]struct {
		check func(Gomega)
		want  string
	}{
		"containing": {
			func(g Gomega) { g.Expect(failed()).To(OutputContaining("a\nb")) },
			"Expected stdout" + command + "to contain\n    a\n    b" + evidence,
		},
		"matching": {
			func(g Gomega) { g.Expect(failed()).To(OutputMatching("^active$")) },
			"Expected stdout" + command + "to match\n    ^active$" + evidence,
		},
		"error output": {
			func(g Gomega) { g.Expect(failed()).To(ErrorOutputContaining("three")) },
			"Expected stderr" + command + "to contain\n    three" + evidence,
		},
		"not containing": {
			func(g Gomega) { g.Expect(failed()).NotTo(OutputContaining("act")) },
			"Expected stdout" + command + "not to contain\n    act" +
				strings.Replace(evidence, "\nstdout:", "\nfound at line 1:\n    inactive\nstdout:", 1),
		},
		"not matching": {
			func(g Gomega) { g.Expect(failed()).NotTo(OutputMatching("v.\n")) },
			"Expected stdout" + command + "not to match\n    v.\n    " +
				strings.Replace(evidence, "\nstdout:", "\nfound at line 1:\n    inactive\nstdout:", 1),
		},
		"no error output": {
			func(g Gomega) { g.Expect(failed()).NotTo(ErrorOutputContaining("two")) },
			"\nfound at line 2:\n    warning: two\n",
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			r, g := record()
			test.check(g)
			NewWithT(t).Expect(r.only(t)).To(ContainSubstring(test.want))
		})
	}
}

func TestNegatedMessageShowsThePlaceFarFromTheEnd(t *testing.T) {
	r, g := record()
	g.Expect(&result{stdout: "x\n" + strings.Repeat("é", 4000) + "needle" + strings.Repeat("ü", 4000) + "\n" + strings.Repeat("line\n", 100)}).
		NotTo(OutputContaining("needle"))
	message := r.only(t)
	ours := NewWithT(t)
	ours.Expect(message).To(MatchRegexp("found at line 2:\n    é+needleü+\nstdout:"))
	ours.Expect(len(message)).To(BeNumerically("<", 2000))
}

func TestOutputsRefuse(t *testing.T) {
	var noResult *result
	cases := map[string]struct {
		matcher types.GomegaMatcher
		actual  any
		want    string
	}{
		"a string": {OutputContaining("x"), "text", "OutputContaining needs a result with Stdout() string, and was given\n    <string>: text"},
		"nil":      {OutputMatching("x"), nil, "OutputMatching needs a result with Stdout() string, and was given nil"},
		"no result": {
			ErrorOutputContaining("x"), noResult,
			"ErrorOutputContaining needs a result with Stderr() string, and was given a nil *matchers_test.result: look at the error that came with it",
		},
		"expression": {
			OutputMatching("("), &result{},
			"OutputMatching was given a bad regular expression: error parsing regexp: missing closing ): `(`",
		},
	}
	for name, test := range cases {
		matched, err := test.matcher.Match(test.actual)
		g := NewWithT(t)
		g.Expect(matched).To(BeFalse(), name)
		g.Expect(err).To(MatchError(test.want), name)
	}
}

func TestOutputsOfARunningCommandAreForSay(t *testing.T) {
	g := NewWithT(t)
	h := &handle{code: -1, out: gbytes.NewBuffer()}
	for _, matcher := range []types.GomegaMatcher{OutputContaining("x"), OutputMatching("x"), ErrorOutputContaining("x")} {
		_, err := matcher.Match(h)
		g.Expect(err).To(MatchError(HaveSuffix("\nThat command still runs: wait for its result, or use gbytes.Say")))
	}
}

func TestEventuallyGivesUpOnAResult(t *testing.T) {
	r, fake := record()
	began := time.Now()
	fake.Eventually(failed()).Within(time.Minute).Should(OutputContaining("x"))
	g := NewWithT(t)
	g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
	g.Expect(r.only(t)).To(HavePrefix("No future change is possible.  Bailing out early"))
}

// onlyOutput has no exit code, so nothing can be said about its future.
type onlyOutput string

func (o onlyOutput) Stdout() string { return string(o) }

func TestOutputAlone(t *testing.T) {
	r, fake := record()
	fake.Expect(onlyOutput("text")).To(OutputContaining("x y"))
	NewWithT(t).Expect(r.only(t)).To(Equal(
		"Expected stdout of command\n    <matchers_test.onlyOutput>\nto contain\n    x y\nstdout:\n    text"))
	NewWithT(t).Expect(types.MatchMayChangeInTheFuture(OutputContaining("x"), onlyOutput(""))).To(BeTrue())
}
