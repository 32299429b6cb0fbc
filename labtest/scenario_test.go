package labtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// good is a step with nothing wrong.
func good() Step { return Step{Name: "kernel", Node: "alice", Command: []string{"uname", "-r"}} }

func TestScenarioThatIsRight(t *testing.T) {
	g := NewWithT(t)
	full := good()
	full.ExpectedExitCode, full.Timeout, full.ExpectOutput = 255, time.Second, `^6\.`
	g.Expect(Scenario{Name: "s", Steps: []Step{good(), full}, Timeout: time.Minute}.Validate()).To(Succeed())
}

func TestScenarioSaysEverythingThatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Scenario)
		want   string
	}{
		"no name":           {func(s *Scenario) { s.Name = "" }, `scenario "": name is missing`},
		"negative time":     {func(s *Scenario) { s.Timeout = -time.Second }, `scenario "s": timeout -1s is negative`},
		"time without unit": {func(s *Scenario) { s.Timeout = 30 }, `scenario "s": timeout 30ns is no time for anything: give it a unit, as in 30*time.Second`},
		"no steps":          {func(s *Scenario) { s.Steps = nil }, `scenario "s": it has no steps, so it would prove nothing`},
		"step name":         {func(s *Scenario) { s.Steps[0].Name = "" }, `scenario "s": step 1 (""): name is missing`},
		"node":              {func(s *Scenario) { s.Steps[0].Node = "" }, `scenario "s": step 1 ("kernel"): node is missing`},
		"command":           {func(s *Scenario) { s.Steps[0].Command = nil }, `scenario "s": step 1 ("kernel"): command is missing: write a list such as ["uname", "-r"]`},
		"empty command":     {func(s *Scenario) { s.Steps[0].Command = []string{"", "x"} }, `scenario "s": step 1 ("kernel"): command is missing: write a list such as ["uname", "-r"]`},
		"exit code":         {func(s *Scenario) { s.Steps[0].ExpectedExitCode = 256 }, `scenario "s": step 1 ("kernel"): expected_exit_code 256 is not 0 to 255`},
		"negative code":     {func(s *Scenario) { s.Steps[0].ExpectedExitCode = -1 }, `scenario "s": step 1 ("kernel"): expected_exit_code -1 is not 0 to 255`},
		"step time":         {func(s *Scenario) { s.Steps[0].Timeout = -1 }, `scenario "s": step 1 ("kernel"): timeout -1ns is negative`},
		"step unit":         {func(s *Scenario) { s.Steps[0].Timeout = 5 }, `scenario "s": step 1 ("kernel"): timeout 5ns is no time for anything: give it a unit, as in 30*time.Second`},
		"pattern":           {func(s *Scenario) { s.Steps[0].ExpectOutput = "(" }, "scenario \"s\": step 1 (\"kernel\"): expect_output: error parsing regexp: missing closing ): `(`"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Scenario{Name: "s", Steps: []Step{good()}}
			test.change(&s)
			NewWithT(t).Expect(s.Validate()).To(MatchError(test.want))
		})
	}
	NewWithT(t).Expect(Scenario{Timeout: -1, Steps: []Step{{}}}.Validate()).To(MatchError(
		"scenario \"\": name is missing\nscenario \"\": timeout -1ns is negative\nscenario \"\": step 1 (\"\"): name is missing\n" +
			"scenario \"\": step 1 (\"\"): node is missing\nscenario \"\": step 1 (\"\"): command is missing: write a list such as [\"uname\", \"-r\"]"))
}

func load(t testing.TB, text string) ([]Scenario, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.yaml")
	NewWithT(t).Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
	scenarios, err := LoadScenarios(path)
	return scenarios, path, err
}

const right = `scenarios:
  - name: arithmetic
    description: that the guest can count
    timeout: 1m30s
    steps:
      - {name: six by seven, node: alice, command: [expr, "6", "*", "7"], timeout: 20s, expect_output: "^42\n$"}
      - {name: fails, node: bob, command: ["false"], expected_exit_code: 1}
`

func TestLoadScenarios(t *testing.T) {
	g := NewWithT(t)
	got, _, err := load(t, right)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal([]Scenario{{
		Name: "arithmetic", Description: "that the guest can count", Timeout: 90 * time.Second,
		Steps: []Step{
			{Name: "six by seven", Node: "alice", Command: []string{"expr", "6", "*", "7"}, Timeout: 20 * time.Second, ExpectOutput: "^42\n$"},
			{Name: "fails", Node: "bob", Command: []string{"false"}, ExpectedExitCode: 1},
		},
	}}))
}

func TestLoadScenariosRefuses(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"nothing":       {"", "read scenarios from FILE: there are none under the key scenarios"},
		"a comment":     {"# later\n", "read scenarios from FILE: there are none under the key scenarios"},
		"an empty list": {"scenarios: []", "read scenarios from FILE: there are none under the key scenarios"},
		"no YAML":       {"scenarios: [", "read scenarios from FILE: yaml: line 1: did not find expected node content"},
		"a bare list":   {"- name: x", "read scenarios from FILE: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into struct { Scenarios []labtest.Scenario \"yaml:\\\"scenarios\\\"\" }"},
		"unknown key":   {"scenarios: [{nmae: x}]", "read scenarios from FILE: yaml: unmarshal errors:\n  line 1: field nmae not found in type labtest.Scenario"},
		"unknown step":  {"scenarios: [{name: x, steps: [{cmd: x}]}]", "read scenarios from FILE: yaml: unmarshal errors:\n  line 1: field cmd not found in type labtest.Step"},
		"no unit":       {"scenarios: [{name: x, timeout: 30}]", "read scenarios from FILE: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!int `30` into time.Duration"},
		"a bad time":    {"scenarios: [{name: x, timeout: soon}]", "read scenarios from FILE: yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `soon` into time.Duration"},
		"a second part": {right + "---\n" + right, "read scenarios from FILE: it holds more than one YAML document: put all scenarios into the first"},
		"invalid":       {"scenarios: [{name: x}, {name: y, timeout: -30s}]", "FILE: scenario \"x\": it has no steps, so it would prove nothing\nscenario \"y\": timeout -30s is negative\nscenario \"y\": it has no steps, so it would prove nothing"},
		"the same name": {"scenarios:\n- &s {name: x, steps: [{name: a, node: a, command: [a]}]}\n- *s", "FILE: scenario \"x\" is there twice: no report could tell them apart"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, path, err := load(t, test.text)
			g.Expect(err).To(MatchError(expand(test.want, path)))
		})
	}
	_, err := LoadScenarios("/nonexistent/s.yaml")
	NewWithT(t).Expect(err).To(MatchError("read scenarios: open /nonexistent/s.yaml: no such file or directory"))
}

func TestStepChecksExitCodeAndOutput(t *testing.T) {
	client := newGuest(t, nil)
	fine, failed := result(t, client, "echo", "42 is it"), result(t, client, "sh", "-c", "echo oops >&2; exit 3")
	for name, test := range map[string]struct {
		change func(*Step)
		res    *Result
		want   string // the beginning of the error; empty for none
	}{
		"as expected":    {func(*Step) {}, fine, ""},
		"expected code":  {func(s *Step) { s.ExpectedExitCode = 3 }, failed, ""},
		"output matches": {func(s *Step) { s.ExpectOutput = `^\d+ is` }, fine, ""},
		"other code":     {func(*Step) {}, failed, "exit code is 3, expected 0\n" + failed.GomegaString()},
		"missing code":   {func(s *Step) { s.ExpectedExitCode = 1 }, fine, "exit code is 0, expected 1\n"},
		"other output":   {func(s *Step) { s.ExpectOutput = `^43` }, fine, `standard output does not match "^43"` + "\n" + fine.GomegaString()},
		"not on stderr":  {func(s *Step) { s.ExpectedExitCode, s.ExpectOutput = 3, "oops" }, failed, `standard output does not match "oops"`},
		"broken pattern": {func(s *Step) { s.ExpectOutput = "(" }, fine, "expect_output: error parsing regexp"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			step := good()
			test.change(&step)
			err := step.check(test.res)
			if test.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(HavePrefix(test.want)))
		})
	}
}

func TestRunScenariosGoesOnAfterOneThatFails(t *testing.T) {
	g := NewWithT(t)
	l := newTestLab(t)
	carol := good()
	carol.Node = "carol"
	results, err := l.RunScenarios(context.Background(),
		Scenario{Name: "invalid"},
		Scenario{Name: "off", Steps: []Step{good(), good()}},
		Scenario{Name: "nobody", Steps: []Step{carol}, Timeout: time.Minute},
	)
	g.Expect(results).To(HaveLen(3))
	g.Expect(results[0].Err).To(MatchError(`scenario "invalid": it has no steps, so it would prove nothing`))
	g.Expect(results[0].Steps).To(BeEmpty())
	g.Expect(results[1].Err).To(MatchError(`scenario "off", step 1 of 2, "kernel" on "alice": node "alice": it is powered off (not started)`))
	g.Expect(results[1].Steps).To(HaveLen(1), "it ends at its first failed step")
	g.Expect(results[1].Steps[0].Result).To(BeNil())
	g.Expect(results[1].Scenario.Name).To(Equal("off"))
	g.Expect(results[2].Err).To(MatchError(ContainSubstring(`has no node "carol"; it has ["alice" "bob"]`)))
	for _, r := range results {
		g.Expect(errors.Is(err, r.Err)).To(BeTrue())
	}
	none, err := l.RunScenarios(context.Background())
	g.Expect(none, err).To(BeEmpty())
}
