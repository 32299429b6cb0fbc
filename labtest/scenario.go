package labtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// Scenario is a named list of steps, run in order until one fails.
type Scenario struct {
	Name        string        `yaml:"name"`
	Description string        `yaml:"description"`
	Steps       []Step        `yaml:"steps"`
	Timeout     time.Duration `yaml:"timeout"` // of all steps together; 0 sets none
}

// Step is one command of a scenario.
type Step struct {
	Name             string        `yaml:"name"`
	Node             string        `yaml:"node"`
	Command          []string      `yaml:"command"` // argv, never a shell
	ExpectedExitCode int           `yaml:"expected_exit_code"`
	Timeout          time.Duration `yaml:"timeout"` // 0 sets none
	// ExpectOutput is a regular expression that the standard output has to match; empty asks for nothing. An exit
	// status alone proves little.
	ExpectOutput string `yaml:"expect_output"`
}

// ScenarioResult is how a scenario went. It is a success exactly if Err is nil.
type ScenarioResult struct {
	Scenario Scenario
	Steps    []StepResult // as far as they were run
	Duration time.Duration
	Err      error // of the step that failed, with its evidence
}

// StepResult is how a step went.
type StepResult struct {
	Step   Step
	Result *Result // nil when there is none
	Err    error
}

// RunScenarios runs scenarios one after the other. A scenario ends at its first failed step; the others are run all
// the same. The error joins those of the failed scenarios.
func (l *Lab) RunScenarios(ctx context.Context, scenarios ...Scenario) ([]ScenarioResult, error) {
	var (
		results []ScenarioResult
		errs    []error
	)
	for _, s := range scenarios {
		r := l.runScenario(ctx, s)
		results = append(results, r)
		errs = append(errs, r.Err)
	}
	return results, errors.Join(errs...)
}

func (l *Lab) runScenario(ctx context.Context, s Scenario) ScenarioResult {
	began := time.Now()
	out := ScenarioResult{Scenario: s}
	if err := s.Validate(); err != nil {
		out.Err = err
		return out
	}
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("scenario %q took longer than its %s", s.Name, s.Timeout))
		defer cancel()
	}
	for i, step := range s.Steps {
		r := l.runStep(ctx, step)
		out.Steps = append(out.Steps, r)
		if r.Err != nil {
			out.Err = fmt.Errorf("scenario %q, step %d of %d, %q on %q: %w", s.Name, i+1, len(s.Steps), step.Name, step.Node, r.Err)
			break
		}
	}
	out.Duration = time.Since(began)
	return out
}

func (l *Lab) runStep(ctx context.Context, step Step) StepResult {
	out := StepResult{Step: step}
	if _, err := l.inner.Node(step.Node); err != nil {
		out.Err = err
		return out
	}
	out.Result, out.Err = l.nodes[step.Node].Run(ctx, Cmd{Argv: step.Command, Timeout: step.Timeout})
	if out.Err == nil {
		out.Err = step.check(out.Result)
	}
	return out
}

// DescribeScenarios makes a Ginkgo spec of every scenario. The lab is asked for when a spec runs, because it is not
// there yet when the tree of specs is built.
func DescribeScenarios(text string, lab func() *Lab, scenarios ...Scenario) bool {
	ginkgo.GinkgoHelper()
	where := types.NewCodeLocation(1) // a failure and the command that reproduces it point at the author's table
	return ginkgo.Describe(text, func() {
		for _, s := range scenarios {
			ginkgo.It(s.Name, where, func(ctx ginkgo.SpecContext) {
				if _, err := lab().RunScenarios(ctx, s); err != nil {
					ginkgo.Fail(err.Error())
				}
			})
		}
	})
}
