package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"gopkg.in/yaml.v3"
)

// Validate tells everything that is wrong with a scenario before anything of it is run.
func (s Scenario) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("scenario %q: "+format, append([]any{s.Name}, args...)...))
	}
	if s.Name == "" {
		bad("name is missing")
	}
	if problem := timeoutProblem(s.Timeout); problem != "" {
		bad("%s", problem)
	}
	if len(s.Steps) == 0 {
		bad("it has no steps, so it would prove nothing")
	}
	for i, step := range s.Steps {
		for _, problem := range step.problems() {
			bad("step %d (%q): %s", i+1, step.Name, problem)
		}
	}
	return errors.Join(errs...)
}

func (s Step) problems() []string {
	var out []string
	if s.Name == "" {
		out = append(out, "name is missing")
	}
	if s.Node == "" {
		out = append(out, "node is missing")
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		out = append(out, `command is missing: write a list such as ["uname", "-r"]`)
	}
	if s.ExpectedExitCode < 0 || s.ExpectedExitCode > 255 {
		out = append(out, fmt.Sprintf("expected_exit_code %d is not 0 to 255", s.ExpectedExitCode))
	}
	if problem := timeoutProblem(s.Timeout); problem != "" {
		out = append(out, problem)
	}
	if _, err := regexp.Compile(s.ExpectOutput); err != nil {
		out = append(out, fmt.Sprintf("expect_output: %v", err))
	}
	return out
}

// timeoutProblem says what is wrong with a time-out; empty if nothing is. A number without a unit is nanoseconds.
func timeoutProblem(d time.Duration) string {
	switch {
	case d < 0:
		return fmt.Sprintf("timeout %s is negative", d)
	case d > 0 && d < time.Microsecond:
		return fmt.Sprintf("timeout %s is no time for anything: give it a unit, as in 30*time.Second", d)
	}
	return ""
}

// check compares a result with what the step expects.
func (s Step) check(res *Result) error {
	if got := res.ExitCode(); got != s.ExpectedExitCode {
		return fmt.Errorf("exit code is %d, expected %d\n%s", got, s.ExpectedExitCode, res.GomegaString())
	}
	if s.ExpectOutput == "" {
		return nil
	}
	pattern, err := regexp.Compile(s.ExpectOutput)
	if err != nil {
		return fmt.Errorf("expect_output: %w", err)
	}
	if !pattern.MatchString(res.Stdout()) {
		return fmt.Errorf("standard output does not match %q\n%s", s.ExpectOutput, res.GomegaString())
	}
	return nil
}

// LoadScenarios reads scenarios from a YAML file: a list under the key scenarios. Unknown keys are errors. Durations
// are written like 5s or 1m30s.
func LoadScenarios(path string) ([]Scenario, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read scenarios: %w", err)
	}
	var file struct {
		Scenarios []Scenario `yaml:"scenarios"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read scenarios from %s: %w", path, err)
	}
	if len(file.Scenarios) == 0 {
		return nil, fmt.Errorf("read scenarios from %s: there are none under the key scenarios", path)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read scenarios from %s: it holds more than one YAML document: put all scenarios into the first", path)
	}
	var errs []error
	seen := map[string]bool{}
	for _, s := range file.Scenarios {
		if seen[s.Name] {
			errs = append(errs, fmt.Errorf("scenario %q is there twice: no report could tell them apart", s.Name))
		}
		seen[s.Name] = true
		errs = append(errs, s.Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file.Scenarios, nil
}
