package rustdesk_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
)

// Steps of ionChannel's plan in its own words: the names, the commands, the exit codes, the time limits.
var _ = Describe("By ionChannel's own plan: "+product().String(), Ordered, ContinueOnFailure, Label("vm", "rustdesk"), func() {
	var lab *labtest.Lab

	BeforeAll(func(ctx SpecContext) {
		lab = startLab(ctx, "ionchannel-rustdesk-test")
	}, NodeTimeout(30*time.Minute))

	step := func(name string, output string, command ...string) labtest.Scenario {
		return labtest.Scenario{Name: name, Timeout: time.Minute, Steps: []labtest.Step{
			{Name: name, Node: "test-vm", Command: command, ExpectOutput: output, Timeout: 30 * time.Second},
		}}
	}

	DescribeTable("cannot be followed where it asks for what does not exist",
		func(ctx SpecContext, reason string, command ...string) {
			_, err := lab.RunScenarios(ctx, step("the plan's step", "", command...))
			Expect(err).To(MatchError(ContainSubstring(reason)))
			report("step that cannot work", err.Error())
		},
		Entry("install-rustdesk: no archive has the package", "Unable to locate package rustdesk", "apt", "install", "-y", "rustdesk", NodeTimeout(3*time.Minute)),
		Entry("verify-ion-portal: the library ion-portal makes no program", "exit code is 127", "/usr/local/bin/ion-portal", "--version", NodeTimeout(3*time.Minute)),
		Entry("start-ion-portal: there is no unit", "ion-portal.service not found", "systemctl", "start", "ion-portal", NodeTimeout(3*time.Minute)),
	)

	// Their steps ask for exit code 0 alone, which a broken RustDesk has too; so the output is asked for besides.
	It("has RustDesk installed, when the suite brings it, and its id read by a command (R41)", func(ctx SpecContext) {
		host, err := kit.Install(ctx, lab.Node("test-vm"))
		Expect(err).NotTo(HaveOccurred())
		Expect(host.WaitServer(ctx)).To(Succeed())
		results, err := lab.RunScenarios(ctx,
			step("verify-rustdesk-installed", `^\d+\.\d+\.\d+(-\d+)?\n$`, "rustdesk", "--version"),
			step("get-rustdesk-id", `^\d{6,12}\n$`, "rustdesk", "--get-id"))
		Expect(err).NotTo(HaveOccurred())
		report("steps that work", results)
	}, NodeTimeout(5*time.Minute))
})
