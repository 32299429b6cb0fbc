package lab_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"

	. "ionlab/matchers"
)

func bootID(ctx context.Context) string {
	GinkgoHelper()
	res, err := bench.Exec(ctx, "cat", "/proc/sys/kernel/random/boot_id")
	Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(res.Stdout())
}

func powerSpecs() {
	It("pauses and resumes", func(ctx SpecContext) {
		Expect(bench.Pause(ctx)).To(Succeed())
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err := bench.Exec(short, "true")
		Expect(err).To(MatchError(context.DeadlineExceeded), "a paused machine answers nothing")
		Expect(bench.Resume(ctx)).To(Succeed())
		Eventually(ctx, bench.Exec).WithArguments("true").Within(time.Minute).Should(ExitWith(0))
	}, NodeTimeout(3*time.Minute))

	It("reboots into another boot, with its disk, address and console", func(ctx SpecContext) {
		before := bootID(ctx)
		Expect(bench.WriteFile(ctx, "/var/tmp/kept", []byte("kept"), 0o600)).To(Succeed())
		Expect(bench.Exec(ctx, "sync")).To(ExitWith(0))
		Expect(bench.Reboot(ctx)).To(Succeed())
		Expect(bootID(ctx)).NotTo(Equal(before))
		Expect(bench.ReadFile(ctx, "/var/tmp/kept")).To(Equal([]byte("kept")))
		Expect(bench.Shell(ctx, "ip -4 -o addr show scope global")).To(OutputContaining("inet 10.77.0.20/24"))
		Expect(bench.Exec(ctx, "stat", "-c", "%Y", "/var/lib/runcmd-shell")).To(ExitWith(0))
		Expect(bench.Console()).To(gbytes.Say("Welcome to .*Debian"))
	}, NodeTimeout(8*time.Minute))

	It("shuts down on request, refuses work while off, and comes back", func(ctx SpecContext) {
		Expect(bench.Shutdown(ctx)).To(Succeed())
		_, err := bench.Exec(ctx, "true")
		Expect(err).To(MatchError(ContainSubstring("powered off")))
		Expect(bench.PowerOn(ctx)).To(Succeed())
		Expect(bench.ReadFile(ctx, "/var/tmp/kept")).To(Equal([]byte("kept")))
	}, NodeTimeout(10*time.Minute))
}
