package lab_test

import (
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
)

func scenarioSpecs() {
	It("runs the steps in order and ends at the first that fails", func(ctx SpecContext) {
		lab := bench.Lab()
		results, err := lab.RunScenarios(ctx,
			labtest.Scenario{Name: "good", Steps: []labtest.Step{
				{Name: "kernel", Node: "bench", Command: []string{"uname", "-s"}, ExpectOutput: `^Linux\n$`},
				{Name: "fails as expected", Node: "bench", Command: []string{"false"}, ExpectedExitCode: 1},
			}},
			labtest.Scenario{Name: "bad", Steps: []labtest.Step{
				{Name: "no such thing", Node: "bench", Command: []string{"cat", "/no/such/file"}},
				{Name: "never", Node: "bench", Command: []string{"touch", "/var/tmp/never"}},
			}},
			labtest.Scenario{Name: "slow", Steps: []labtest.Step{
				{Name: "sleeps", Node: "bench", Command: []string{"sleep", "600"}, Timeout: 3 * time.Second},
			}},
		)
		Expect(results).To(HaveLen(3))
		Expect(results[0].Err).NotTo(HaveOccurred())
		Expect(results[1].Err).To(MatchError(And(ContainSubstring(`"no such thing" on "bench"`), ContainSubstring("No such file"))))
		Expect(results[1].Steps).To(HaveLen(1))
		Expect(results[2].Err).To(MatchError(ContainSubstring("3s")))
		Expect(err).To(MatchError(And(ContainSubstring("bad"), ContainSubstring("slow"))))
		_, err = bench.ReadFile(ctx, "/var/tmp/never")
		Expect(err).To(HaveOccurred())
	}, NodeTimeout(2*time.Minute))

	It("loads scenarios from YAML", func(ctx SpecContext) {
		path := filepath.Join(GinkgoT().TempDir(), "scenarios.yaml")
		Expect(os.WriteFile(path, []byte(`
scenarios:
  - name: from a file
    timeout: 1m
    steps:
      - {name: arithmetic, node: bench, command: [expr, "6", "*", "7"], timeout: 20s, expect_output: "^42\n$"}
`), 0o600)).To(Succeed())
		scenarios, err := labtest.LoadScenarios(path)
		Expect(err).NotTo(HaveOccurred())
		_, err = bench.Lab().RunScenarios(ctx, scenarios...)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(time.Minute))
}
