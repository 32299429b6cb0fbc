package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
)

var _ = Describe("A test process that is killed with SIGKILL", Ordered, Label("vm", "killed"), func() {
	var labtestBin, victimBin string

	BeforeAll(func(SpecContext) {
		var err error
		labtestBin, err = gexec.Build("ionlab/cmd/labtest")
		Expect(err).NotTo(HaveOccurred())
		victimBin, err = os.Executable()
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(10*time.Minute))

	DescribeTable("leaves no process, and on disk what gc removes", func(ctx SpecContext, after time.Duration) {
		dirs := ownDirs()
		victim := exec.Command(victimBin, "--ginkgo.label-filter="+victimLabel)
		victim.Env = append(append(os.Environ(), dirs.env...), victimVariable+"=1")
		victim.Stdout, victim.Stderr = GinkgoWriter, GinkgoWriter
		Expect(victim.Start()).To(Succeed())
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
		before := processesOf(dirs.run)
		Expect(victim.Process.Kill()).To(Succeed())
		_ = victim.Wait()
		Eventually(func() []string { return processesOf(dirs.run) }).Within(time.Second).ProbeEvery(20*time.Millisecond).
			Should(BeEmpty(), "processes that outlived their owner; there had been %d", len(before))
		AddReportEntry(fmt.Sprintf("processes when killed after %s", after), strings.Join(before, "\n"))

		// Another lab of the same folders is alive: gc has to leave it alone.
		other := filepath.Join(dirs.run, "abcdef")
		Expect(os.MkdirAll(other, 0o700)).To(Succeed())
		holder := exec.Command("flock", filepath.Join(other, "lock"), "sleep", "600")
		holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		Expect(holder.Start()).To(Succeed())
		defer func() { _ = syscall.Kill(-holder.Process.Pid, syscall.SIGKILL); _ = holder.Wait() }()
		Eventually(func() error { return exec.Command("flock", "-n", filepath.Join(other, "lock"), "true").Run() }).
			Within(10 * time.Second).Should(HaveOccurred())

		left := dirs.entries()
		planned, err := labtestGC(ctx, labtestBin, dirs, "--dry-run")
		Expect(err).NotTo(HaveOccurred(), planned)
		Expect(dirs.entries()).To(Equal(left), "a dry run removes nothing")
		out, err := labtestGC(ctx, labtestBin, dirs)
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(dirs.entries()).To(ConsistOf(filepath.Join(dirs.run, "abcdef")))
	},
		Entry("at once", 50*time.Millisecond, NodeTimeout(2*time.Minute)),
		Entry("while it makes its folders", 300*time.Millisecond, NodeTimeout(2*time.Minute)),
		Entry("while it starts libvirt", 600*time.Millisecond, NodeTimeout(2*time.Minute)),
		Entry("while it creates domains", 1500*time.Millisecond, NodeTimeout(2*time.Minute)),
		Entry("while the machine boots", 8*time.Second, NodeTimeout(2*time.Minute)),
	)
})

// The victim is this suite's own program, with a spec that is there only for it.
const (
	victimVariable = "IONLAB_VICTIM"
	victimLabel    = "victim"
)

func init() { //nolint:gochecknoinits // the spec must not be there in any other run, not even to be left out.
	if os.Getenv(victimVariable) == "" {
		return
	}
	It("holds a lab until it is killed", Label(victimLabel), func(ctx SpecContext) {
		_, err := labtest.Start(ctx, "../../topologies/single.yaml").Node("solo").Exec(ctx, "sleep", "3600")
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(time.Hour))
}

// folders are a run and a state folder of their own, so that a spec sees only what it left itself. Images are shared.
type folders struct {
	run, state string
	env        []string
}

func ownDirs() folders {
	GinkgoHelper()
	root, err := os.MkdirTemp("", "lt") // short: socket paths end at 107 bytes
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, root)
	Expect(os.Chmod(root, 0o711)).To(Succeed(), "QEMU runs as another user when we are root")
	f := folders{run: filepath.Join(root, "r"), state: filepath.Join(root, "s")}
	f.env = []string{"LABTEST_RUN_DIR=" + f.run, "LABTEST_STATE_DIR=" + f.state, "LABTEST_ARTIFACTS=" + filepath.Join(root, "a")}
	return f
}

// entries are the labs' folders, alive or not.
func (f folders) entries() []string {
	run, _ := filepath.Glob(filepath.Join(f.run, "[0-9a-f]*"))
	state, _ := filepath.Glob(filepath.Join(f.state, "[0-9a-f]*"))
	return append(run, state...)
}

func labtestGC(ctx SpecContext, bin string, dirs folders, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, bin, append([]string{"gc"}, args...)...)
	cmd.Env = append(os.Environ(), dirs.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// processesOf are the processes that have run in their command line or environment and have not ended.
func processesOf(run string) []string {
	var found []string
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		dir := filepath.Dir(stat)
		if _, state := parentOf(stat); state == "Z" || state == "X" {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if strings.Contains(string(cmdline)+string(environ), run) {
			found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}
