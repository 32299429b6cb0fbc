package lab_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// qemuOf finds the process of a node by its command line: domains of other labs have the same name, and other sockets.
func qemuOf(node *labtest.Node) int {
	GinkgoHelper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	Expect(err).NotTo(HaveOccurred())
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), "-"+node.Name()+",debug-threads=") && strings.Contains(string(data), "/"+node.Lab().ID()+"/") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			Expect(err).NotTo(HaveOccurred())
			return pid
		}
	}
	Fail("no QEMU runs node " + node.Name())
	return 0
}

// waitForDeath polls for something that never comes true, as a spec would, while kill ends the machine. It returns
// what the spec would have failed with, and how long after the kill.
func waitForDeath(ctx SpecContext, kill func()) (string, time.Duration) {
	var killed time.Time
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer GinkgoRecover()
		timer := time.NewTimer(3 * time.Second)
		defer timer.Stop()
		<-timer.C
		killed = time.Now()
		kill()
	}()
	failures := InterceptGomegaFailures(func() {
		Eventually(ctx, bench.Exec).WithArguments("test", "-e", "/var/tmp/what-never-comes").
			Within(4 * time.Minute).ProbeEvery(200 * time.Millisecond).Should(ExitWith(0))
	})
	took := time.Since(killed)
	<-done
	Expect(failures).To(HaveLen(1))
	return failures[0], took
}

func deathSpecs() {
	It("ends an Eventually at once when QEMU is killed, and names node, cause and console", func(ctx SpecContext) {
		Expect(bench.WriteFile(ctx, "/var/tmp/before", nil, 0o600)).To(Succeed())
		Expect(bench.Lab().Snapshot(ctx)).To(Succeed())
		pid := qemuOf(bench)
		message, took := waitForDeath(ctx, func() { Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed()) })
		AddReportEntry("the failure after kill -9", took.String()+"\n"+message)
		Expect(took).To(BeNumerically("<", 2*time.Second))
		Expect(message).To(And(ContainSubstring(`node "bench" is dead`), ContainSubstring("QEMU process ended unasked"), ContainSubstring("login:")))
		Expect(bench.Lab().Revert(ctx)).To(Succeed(), "a revert brings back the dead, too")
		Expect(bench.Exec(ctx, "test", "-e", "/var/tmp/before")).To(ExitWith(0))
	}, NodeTimeout(8*time.Minute))

	It("ends an Eventually at once when the guest's kernel panics, and names the panic", func(ctx SpecContext) {
		message, took := waitForDeath(ctx, func() {
			_, _ = bench.Shell(ctx, "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")
		})
		AddReportEntry("the failure after a panic", took.String()+"\n"+message)
		Expect(took).To(BeNumerically("<", 2*time.Second))
		Expect(message).To(And(ContainSubstring(`node "bench" is dead`), ContainSubstring("Kernel panic - not syncing: sysrq triggered crash")))
	}, NodeTimeout(8*time.Minute))
}
