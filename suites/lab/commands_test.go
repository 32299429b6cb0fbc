package lab_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
	. "ionlab/matchers"
)

func stringReader(s string) io.Reader { return strings.NewReader(s) }

func commandSpecs() {
	DescribeTable("argv arrives as it was given", func(ctx SpecContext, args ...string) {
		argv := append([]string{"sh", "-c", `for a in "$@"; do printf '<%s>' "$a"; done`, "sh"}, args...)
		res, err := bench.Exec(ctx, argv...)
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Stdout()).To(Equal("<" + strings.Join(args, "><") + ">"))
	},
		Entry("spaces", "a b", "  ", "c"),
		Entry("quotes", `"`, `'`, `it's "so"`, `\`),
		Entry("what a shell would expand", "$HOME", "`id`", "$(id)", "*", "~", "a;b", "a|b", "&", "!x", "#"),
		Entry("newlines and tabs", "a\nb\n", "\t", "\n\n"),
		Entry("nothing at all", ""),
		Entry("other alphabets", "größe", "日本語", "🙂"),
	)

	It("refuses a NUL in an argument, and says so", func(ctx SpecContext) {
		_, err := bench.Exec(ctx, "echo", "a\x00b")
		Expect(err).To(MatchError(ContainSubstring("NUL")))
	}, NodeTimeout(time.Minute))

	It("takes a megabyte of arguments", func(ctx SpecContext) {
		args := []string{"sh", "-c", `printf '%s' "$@" | wc -c`, "sh"}
		for range 16 {
			args = append(args, strings.Repeat("x", 64<<10))
		}
		Expect(bench.Exec(ctx, args...)).To(OutputMatching(`^1048576\n$`))
	}, NodeTimeout(2*time.Minute))

	It("returns ten megabytes of binary output byte by byte, and stderr apart", func(ctx SpecContext) {
		res, err := bench.Shell(ctx, `head -c 10485760 /dev/urandom > /var/tmp/blob; cat /var/tmp/blob; sha256sum < /var/tmp/blob >&2; rm /var/tmp/blob`)
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Stdout()).To(HaveLen(10485760))
		Expect(res.Stderr()).To(Equal(fmt.Sprintf("%x  -\n", sha256.Sum256([]byte(res.Stdout())))))
	}, NodeTimeout(3*time.Minute))

	It("returns the exit code of each of 50 commands at once", func(ctx SpecContext) {
		var wg sync.WaitGroup
		wrong := make(chan string, 50)
		for i := range 50 {
			wg.Go(func() {
				code := 5*i + 1
				res, err := bench.Exec(ctx, "sh", "-c", fmt.Sprintf("exit %d", code))
				if err != nil || res.ExitCode() != code {
					wrong <- fmt.Sprintf("%d: %v %v", code, res, err)
				}
			})
		}
		wg.Wait()
		close(wrong)
		for text := range wrong {
			Fail(text)
		}
	}, NodeTimeout(5*time.Minute))

	It("tells the signal that ended a program", func(ctx SpecContext) {
		res, err := bench.Exec(ctx, "sh", "-c", "kill -SEGV $$")
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Signal()).To(Equal("SIGSEGV"))
		Expect(res.ExitCode()).To(Equal(128 + 11))
	}, NodeTimeout(time.Minute))

	It("returns although a child in the background keeps stdout open", func(ctx SpecContext) {
		res, err := bench.Shell(ctx, "sleep 4321 & echo started $!")
		Expect(err).NotTo(HaveOccurred())
		Expect(res.Stdout()).To(HavePrefix("started "))
		pid := strings.TrimSpace(strings.TrimPrefix(res.Stdout(), "started "))
		Expect(bench.Exec(ctx, "kill", pid)).To(ExitWith(0), "the child lives on")
	}, NodeTimeout(time.Minute))

	It("kills the whole process group when ctx ends", func(ctx SpecContext) {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := bench.Shell(short, "sleep 5432 & sleep 5432; echo never")
		Expect(err).To(MatchError(context.DeadlineExceeded))
		Eventually(ctx, bench.Exec).WithArguments("pgrep", "-f", "^sleep 5432$").Within(20 * time.Second).Should(ExitWith(1))
	}, NodeTimeout(2*time.Minute))

	It("reads stdin, sets env, folder and user", func(ctx SpecContext) {
		Expect(bench.Run(ctx, labtest.Cmd{
			Shell: `cat; printf '%s %s %s' "$V" "$PWD" "$(id -un)"`, Stdin: stringReader("in "),
			Env: map[string]string{"V": "a 'b' $c"}, Dir: "/etc", User: "tess",
		})).To(OutputMatching(`^in a 'b' \$c /etc tess$`))
	}, NodeTimeout(time.Minute))

	It("names a folder or user that is not there, and does not take it for an exit status", func(ctx SpecContext) {
		_, err := bench.Run(ctx, labtest.Cmd{Argv: []string{"true"}, Dir: "/no/such/folder"})
		Expect(err).To(MatchError(ContainSubstring("/no/such/folder")))
		_, err = bench.Run(ctx, labtest.Cmd{Argv: []string{"true"}, User: "nobody-here"})
		Expect(err).To(MatchError(ContainSubstring("nobody-here")))
	}, NodeTimeout(time.Minute))

	It("hands out a running command", func(ctx SpecContext) {
		cmd, err := bench.Start(ctx, labtest.Cmd{Shell: `echo ready; trap 'echo bye; exit 7' TERM; while :; do sleep 0.1; done`})
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, cmd.Out).Within(20 * time.Second).Should(gbytes.Say("ready"))
		Expect(cmd.ExitCode()).To(Equal(-1))
		Expect(cmd.Signal(ctx, syscall.SIGTERM)).To(Succeed())
		Eventually(ctx, cmd).Within(20 * time.Second).Should(gexec.Exit(7))
		Expect(cmd.Out).To(gbytes.Say("bye"))
		Expect(cmd.Wait(ctx)).To(ExitWith(7))
	}, NodeTimeout(time.Minute))
}
