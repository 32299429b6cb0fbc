package lab_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"golang.org/x/sys/unix"

	"ionlab/labtest"
	. "ionlab/matchers"
	"ionlab/suites/room"
)

var _ = Describe("An imported disk with boot loaders of its own", Ordered, ContinueOnFailure, Label("vm", "import"), func() {
	var (
		cli       commandLine
		root      string // QEMU reaches what lies in it
		old, next *labtest.Node
	)

	BeforeAll(func(ctx SpecContext) {
		cli = buildCommandLine()
		root = GinkgoT().TempDir()
		Expect(os.Chmod(root, 0o711)).To(Succeed(), "QEMU runs as another user when we are root")
		disk := filepath.Join(root, "disk.raw")
		out, err := exec.CommandContext(ctx, "testdata/bootable-disk.sh", cli.recipeImage(ctx, "debian-12"), disk).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))

		// A store of its own: names of imported images are shared by all who use a store. It has no kernel to prove KVM with.
		GinkgoT().Setenv("LABTEST_ACCEL", cli.accelerator(ctx))
		GinkgoT().Setenv("LABTEST_CACHE_DIR", ownStore(ctx))
		cli.importDisk(ctx, disk, "imported-bios", "bios")
		cli.importDisk(ctx, disk, "imported-uefi", "uefi")
		Expect(os.Remove(disk)).To(Succeed(), "the store has copied it")
		lab := labtest.Start(ctx, "../../topologies/imported.yaml")
		old, next = lab.Node("old"), lab.Node("new")
	}, NodeTimeout(20*time.Minute))

	It("is started by the firmware that it was imported for, and by its own loader", func(ctx SpecContext) {
		Expect(old.Exec(ctx, "cat", "/proc/cmdline")).To(OutputMatching(`^BOOT_IMAGE=/vmlinuz .*loader=bios`))
		Expect(old.Exec(ctx, "test", "-e", "/sys/firmware/efi")).To(ExitWith(1))
		Expect(next.Exec(ctx, "cat", "/proc/cmdline")).To(OutputMatching(`^BOOT_IMAGE=/vmlinuz .*loader=uefi`))
		Expect(next.Exec(ctx, "test", "-e", "/sys/firmware/efi/efivars")).To(ExitWith(0))
		for _, node := range []*labtest.Node{old, next} {
			Expect(node.Exec(ctx, "findmnt", "-n", "-o", "SOURCE", "/")).To(OutputMatching(`^/dev/vda2\n$`), node.Name())
		}
	}, NodeTimeout(time.Minute))

	It("shows firmware and loader on the serial console, before the kernel", func() {
		Expect(old.Console()).To(gbytes.Say(`SeaBIOS (?s:.*)SYSLINUX (?s:.*)Linux version`))
		Expect(next.Console()).To(gbytes.Say(`BdsDxe: starting Boot(?s:.*)Linux version`))
	})

	It("is provisioned like any other image", func(ctx SpecContext) {
		for _, node := range []*labtest.Node{old, next} {
			Expect(node.Exec(ctx, "hostname")).To(OutputMatching(`^` + node.Name() + `\n$`))
			Expect(node.Exec(ctx, "cat", "/etc/labtest-mark")).To(OutputMatching(`^from the seed\n$`), node.Name())
		}
		Expect(old.Exec(ctx, "ping", "-c", "2", "-W", "5", "new")).To(And(ExitWith(0), OutputContaining(" 0% packet loss")))
	}, NodeTimeout(time.Minute))

	It("cannot be removed while a lab runs on it", func(ctx SpecContext) {
		session := cli.run(ctx, "image", "rm", "imported-uefi")
		Expect(session).To(gexec.Exit(1))
		Expect(session.Err).To(say("imported-uefi"))
	}, NodeTimeout(time.Minute))

	It("reboots through UEFI and its loader, and who watches its console goes on watching", func(ctx SpecContext) {
		before, err := next.ReadFile(ctx, "/proc/sys/kernel/random/boot_id")
		Expect(err).NotTo(HaveOccurred())
		watching, err := gexec.Start(exec.Command(string(cli), "console", next.Lab().ID(), "new"), GinkgoWriter, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { watching.Kill().Wait(time.Minute) })
		Expect(next.Reboot(ctx)).To(Succeed())
		Expect(next.ReadFile(ctx, "/proc/sys/kernel/random/boot_id")).NotTo(Equal(before))
		Expect(next.Exec(ctx, "cat", "/proc/cmdline")).To(OutputContaining("loader=uefi"))
		Eventually(ctx, watching.Out).Within(time.Minute).Should(gbytes.Say(`reboot: Restarting system(?s:.*)Linux version(?s:.*)login:`))
	}, NodeTimeout(8*time.Minute))

	DescribeTable("fails to start within a minute when its firmware finds no system, and says so", func(ctx SpecContext, firmware, says string) {
		disk, topology := filepath.Join(root, "unbootable.raw"), filepath.Join(root, "unbootable.yaml")
		out, err := exec.CommandContext(ctx, "testdata/unbootable-disk.sh", disk).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))
		Expect(os.WriteFile(topology, []byte("nodes: [{name: lost, image: unbootable, memory_mb: 128}]\n"), 0o600)).To(Succeed())
		cli.importDisk(ctx, disk, "unbootable", firmware)
		began := time.Now()
		session := cli.run(ctx, "up", topology)
		Expect(session).To(gexec.Exit(1))
		Expect(time.Since(began)).To(BeNumerically("<", time.Minute))
		Expect(session.Err).To(gbytes.Say(`node "lost": stage "(kernel|sshd)": .*wrong firmware for this image.*` + says))
		AddReportEntry("the failure", string(session.Err.Contents()))
	},
		Entry("a BIOS", "bios", "No bootable device", NodeTimeout(3*time.Minute)),
		Entry("UEFI", "uefi", "BdsDxe", NodeTimeout(3*time.Minute)),
	)
})

// ownStore is a cache folder that nobody else uses until the end of the container. The snapshot in it stays for the next run:
// the same disks make the same images.
func ownStore(ctx context.Context) string {
	GinkgoHelper()
	dir := filepath.Join(room.Shared(), "suites", "import")
	Expect(os.MkdirAll(dir, 0o711)).To(Succeed())
	lock, err := os.Create(filepath.Join(filepath.Dir(dir), "import.lock"))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(lock.Close)
	Eventually(ctx, func() error { return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) }).
		Within(15*time.Minute).ProbeEvery(100*time.Millisecond).Should(Succeed(), "another run of this suite uses %s", dir)
	return dir
}

// commandLine is the path of a labtest program.
type commandLine string

func buildCommandLine() commandLine {
	GinkgoHelper()
	bin, err := gexec.Build("ionlab/cmd/labtest")
	Expect(err).NotTo(HaveOccurred())
	return commandLine(bin)
}

// run runs a verb to its end.
func (c commandLine) run(ctx context.Context, args ...string) *gexec.Session {
	GinkgoHelper()
	session, err := gexec.Start(exec.CommandContext(ctx, string(c), args...), GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	Eventually(session).WithContext(ctx).Within(15 * time.Minute).Should(gexec.Exit())
	return session
}

// importDisk takes a disk into the store until the end of the spec or container.
func (c commandLine) importDisk(ctx context.Context, disk, name, firmware string) {
	GinkgoHelper()
	Expect(c.run(ctx, "image", "import", disk, "--name", name, "--firmware", firmware)).To(gexec.Exit(0))
	DeferCleanup(func(ctx SpecContext) {
		Expect(c.run(ctx, "image", "rm", name)).To(gexec.Exit(0))
	}, NodeTimeout(time.Minute))
}

// accelerator is what LABTEST_ACCEL or doctor's probe says.
func (c commandLine) accelerator(ctx context.Context) string {
	GinkgoHelper()
	if forced := os.Getenv("LABTEST_ACCEL"); forced != "" {
		return forced
	}
	session := c.run(ctx, "doctor", "--json")
	var report struct {
		Checks []struct{ Name, Status string }
	}
	Expect(json.Unmarshal(session.Out.Contents(), &report)).To(Succeed())
	for _, check := range report.Checks {
		if check.Name == "kvm" && check.Status == "ok" {
			return "kvm"
		}
	}
	return "tcg"
}

// recipeImage is the folder of an image in the store; what is missing there is built.
func (c commandLine) recipeImage(ctx context.Context, name string) string {
	GinkgoHelper()
	built := c.run(ctx, "image", "build", name)
	Expect(built).To(gexec.Exit(0))
	list := c.run(ctx, "image", "list", "--json")
	Expect(list).To(gexec.Exit(0))
	var images []struct{ Digest, Path string }
	Expect(json.Unmarshal(list.Out.Contents(), &images)).To(Succeed())
	for _, image := range images {
		if image.Digest != "" && strings.Contains(string(built.Out.Contents()), image.Digest) {
			return image.Path
		}
	}
	Fail("image list does not have what image build made: " + string(built.Out.Contents()))
	return ""
}
