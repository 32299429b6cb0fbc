// Package matchers has Gomega matchers for the results of commands: how they exited and what they wrote.
//
//	Expect(node.Exec(ctx, "systemctl", "is-active", "ssh")).To(ExitWith(0))
//	Expect(node.Exec(ctx, "rustdesk", "--get-id")).To(OutputMatching(`^\d{9}\s*$`))
//	Eventually(ctx, node.Exec).WithArguments("test", "-e", "/run/ready").Should(ExitWith(0))
//	Eventually(ctx, command).Should(ExitWith(0)) // a command that still runs
//
// They know no type of labtest: anything with the methods ExitCode, Stdout and Stderr fits; see Exiter, Outputter and
// ErrorOutputter. Where there are also the methods Command() string, Signal() string, Duration() time.Duration or
// Buffer() *gbytes.Buffer, failure messages use them. Messages are bounded: of long output they have the end.
//
// A matcher has no state, so one may be used any number of times and from several goroutines.
package matchers
