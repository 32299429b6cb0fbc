package labtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ionlab/labtest"
)

func ExampleLoadScenarios() {
	dir, err := os.MkdirTemp("", "scenarios")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "smoke.yaml")
	err = os.WriteFile(path, []byte(`
scenarios:
  - name: names resolve
    timeout: 1m
    steps:
      - {name: bob by name, node: alice, command: [getent, hosts, bob], expect_output: "bob"}
      - {name: nobody, node: alice, command: [getent, hosts, nobody.invalid], expected_exit_code: 2}
`), 0o600)
	if err != nil {
		fmt.Println(err)
		return
	}
	scenarios, err := labtest.LoadScenarios(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range scenarios {
		fmt.Printf("%s: %d steps within %s\n", s.Name, len(s.Steps), s.Timeout)
	}
	// Output:
	// names resolve: 2 steps within 1m0s
}

func ExampleScenario_Validate() {
	s := labtest.Scenario{Name: "smoke", Steps: []labtest.Step{{Name: "kernel", Node: "alice", ExpectedExitCode: 300}}}
	fmt.Println(s.Validate())
	// Output:
	// scenario "smoke": step 1 ("kernel"): command is missing: write a list such as ["uname", "-r"]
	// scenario "smoke": step 1 ("kernel"): expected_exit_code 300 is not 0 to 255
}

func ExampleDegrade() {
	worse := labtest.Degrade(
		labtest.Impairment{Delay: 10 * time.Millisecond, Loss: labtest.None},
		labtest.Impairment{Delay: 250 * time.Millisecond, Loss: 6},
		time.Minute, 4)
	for _, change := range worse.Steps {
		fmt.Printf("after %s: %s\n", change.After, change.Impair)
	}
	// Output:
	// after 0s: delay 10ms, loss none
	// after 20s: delay 90ms, loss 2 %
	// after 20s: delay 170ms, loss 4 %
	// after 20s: delay 250ms, loss 6 %
}
