package lab_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

var _ = Describe("A lab that starts from a snapshot", Ordered, ContinueOnFailure, Label("vm", "warm"), func() {
	const file = "../../topologies/single.yaml"
	var first, second *labtest.Node
	var cache string

	BeforeAll(func(ctx SpecContext) {
		cache = ownCache()
		began := time.Now()
		first = labtest.Start(ctx, file).Node("solo")
		AddReportEntry("the first start, with the making of the snapshot", time.Since(began).String())
		Expect(first.Lab().Beginning()).To(Equal("cold start: there is no snapshot of this lab yet"))
		Expect(first.Exec(ctx, "true")).To(ExitWith(0), "it goes on from its own snapshot")

		began = time.Now()
		second = labtest.Start(ctx, file).Node("solo")
		Expect(second.Exec(ctx, "true")).To(ExitWith(0))
		AddReportEntry("the second start, to the result of a first command", time.Since(began).String())
	}, NodeTimeout(20*time.Minute))

	It("is the machine that was saved, and nothing in it has noticed", func(ctx SpecContext) {
		Expect(second.Lab().Beginning()).To(HavePrefix("warm start: snapshot "))
		Expect(line(ctx, second, "cat", "/proc/sys/kernel/random/boot_id")).To(Equal(line(ctx, first, "cat", "/proc/sys/kernel/random/boot_id")))
		Expect(second.Exec(ctx, "hostname")).To(OutputContaining("solo"))
		Expect(second.Exec(ctx, "systemctl", "is-system-running")).To(OutputContaining("running"))
		Expect(second.Exec(ctx, "systemctl", "is-active", "qemu-guest-agent")).To(ExitWith(0))
		Expect(string(second.Console().Contents())).To(ContainSubstring("Linux version"), "what it printed when it booted")
		Expect(second.WriteFile(ctx, "/root/here", []byte("second"), 0o600)).To(Succeed())
		Expect(first.Exec(ctx, "test", "-e", "/root/here")).To(ExitWith(1), "the disks have nothing to do with each other")
		Expect(second.Addr("lan")).To(Equal(first.Addr("lan")), "two labs at once, with the same addresses")
	}, NodeTimeout(3*time.Minute))

	It("has the right time", func(ctx SpecContext) {
		expectRightTime(ctx, second)
		expectRightTime(ctx, first)
	}, NodeTimeout(2*time.Minute))

	It("has random numbers of its own", func(ctx SpecContext) {
		third := labtest.Start(ctx, file).Node("solo")
		fourth := labtest.Start(ctx, file).Node("solo")
		draw := []string{"od", "-An", "-vtx1", "-w32", "-N32", "/dev/urandom"}
		Expect(line(ctx, third, draw...)).NotTo(Equal(line(ctx, fourth, draw...)))
		Expect(line(ctx, third, "cat", "/proc/sys/kernel/random/uuid")).NotTo(Equal(line(ctx, fourth, "cat", "/proc/sys/kernel/random/uuid")))
	}, NodeTimeout(5*time.Minute))

	It("can be restarted like any other", func(ctx SpecContext) {
		before := line(ctx, second, "cat", "/proc/sys/kernel/random/boot_id")
		Expect(second.Reboot(ctx)).To(Succeed())
		Expect(line(ctx, second, "cat", "/proc/sys/kernel/random/boot_id")).NotTo(Equal(before))
		Expect(second.Exec(ctx, "cat", "/root/here")).To(OutputContaining("second"))
	}, NodeTimeout(10*time.Minute))

	It("goes back to a snapshot of its own: files, processes, clock", func(ctx SpecContext) {
		lab := first.Lab()
		Expect(first.Shell(ctx, "echo before >/root/state; systemd-run --unit=keeper sleep 3600")).To(ExitWith(0))
		began := time.Now()
		Expect(lab.Snapshot(ctx)).To(Succeed())
		AddReportEntry("snapshot", time.Since(began).String())
		expectRightTime(ctx, first)
		var draws []string
		for range 3 {
			Expect(first.Shell(ctx, "echo after >/root/state; rm -r /etc/ssh; systemctl stop keeper; systemd-run --unit=intruder sleep 3600")).To(ExitWith(0))
			command, err := first.Start(ctx, labtest.Cmd{Argv: []string{"sleep", "3600"}})
			Expect(err).NotTo(HaveOccurred())
			began = time.Now()
			Expect(lab.Revert(ctx)).To(Succeed())
			Expect(first.Exec(ctx, "true")).To(ExitWith(0))
			AddReportEntry("revert, to the result of a first command", time.Since(began).String())
			_, err = command.Wait(ctx)
			Expect(err).To(MatchError(ContainSubstring("the lab was reverted to its snapshot")))
			Expect(first.Exec(ctx, "cat", "/root/state")).To(OutputContaining("before"))
			Expect(first.Exec(ctx, "test", "-e", "/etc/ssh/sshd_config")).To(ExitWith(0))
			Expect(first.Exec(ctx, "systemctl", "is-active", "keeper")).To(ExitWith(0))
			Expect(first.Exec(ctx, "systemctl", "is-active", "intruder")).NotTo(ExitWith(0))
			Expect(first.Exec(ctx, "systemctl", "is-active", "qemu-guest-agent")).To(ExitWith(0))
			expectRightTime(ctx, first)
			draws = append(draws, line(ctx, first, "od", "-An", "-vtx1", "-w32", "-N32", "/dev/urandom"))
		}
		Expect(draws[1]).NotTo(Equal(draws[0]))
		Expect(draws[2]).NotTo(BeElementOf(draws[0], draws[1]))
	}, NodeTimeout(10*time.Minute))

	It("boots cold when one byte of the snapshot has changed, and says so", func(ctx SpecContext) {
		files, err := filepath.Glob(filepath.Join(cache, "snapshots", "entries", "*", "solo.memory"))
		Expect(err).NotTo(HaveOccurred())
		Expect(files).To(HaveLen(1))
		flip(files[0])
		third := labtest.Start(ctx, file).Node("solo")
		Expect(third.Lab().Beginning()).To(And(HavePrefix("cold start: "), ContainSubstring("is damaged: the content of solo.memory has changed")))
		Expect(third.Exec(ctx, "true")).To(ExitWith(0))
		Expect(labtest.Start(ctx, file).Beginning()).To(HavePrefix("warm start: "), "the cold start has left a new one")
		Expect(first.Exec(ctx, "true")).To(ExitWith(0), "who uses the old one keeps it")
	}, NodeTimeout(20*time.Minute))
})

// ownCache gives this process a folder for snapshots of its own until the end of the container. Images are shared.
func ownCache() string {
	GinkgoHelper()
	shared := os.Getenv("LABTEST_CACHE_DIR")
	if home, err := os.UserCacheDir(); shared == "" && err == nil {
		shared = filepath.Join(home, "labtest")
	}
	if os.Geteuid() == 0 && os.Getenv("LABTEST_CACHE_DIR") == "" {
		shared = "/var/cache/labtest"
	}
	dir, err := os.MkdirTemp("", "lt")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, dir)
	Expect(os.Chmod(dir, 0o711)).To(Succeed(), "QEMU runs as another user when we are root")
	Expect(os.Symlink(filepath.Join(shared, "images"), filepath.Join(dir, "images"))).To(Succeed())
	for name, value := range map[string]string{"LABTEST_CACHE_DIR": dir, "LABTEST_WARM": "on"} {
		before, set := os.LookupEnv(name)
		Expect(os.Setenv(name, value)).To(Succeed())
		DeferCleanup(func() error {
			if set {
				return os.Setenv(name, before)
			}
			return os.Unsetenv(name)
		})
	}
	return dir
}

// line is what a command that has to succeed prints.
func line(ctx SpecContext, node *labtest.Node, argv ...string) string {
	GinkgoHelper()
	res, err := node.Exec(ctx, argv...)
	Expect(res, err).To(ExitWith(0))
	return strings.TrimSpace(res.Stdout())
}

// expectRightTime compares the node's clock with the host's, to a second beyond the time that the answer takes.
func expectRightTime(ctx SpecContext, node *labtest.Node) {
	GinkgoHelper()
	before := time.Now()
	seconds, err := strconv.ParseFloat(line(ctx, node, "date", "+%s.%N"), 64)
	Expect(err).NotTo(HaveOccurred())
	clock := time.Unix(0, int64(seconds*1e9))
	Expect(clock).To(And(BeTemporally(">", before.Add(-time.Second)), BeTemporally("<", time.Now().Add(time.Second))))
}

// flip changes one bit in the middle of a read-only file.
func flip(path string) {
	GinkgoHelper()
	Expect(os.Chmod(path, 0o600)).To(Succeed())
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	Expect(err).NotTo(HaveOccurred())
	defer func() { Expect(out.Close()).To(Succeed()) }()
	info, err := out.Stat()
	Expect(err).NotTo(HaveOccurred())
	var b [1]byte
	_, err = out.ReadAt(b[:], info.Size()/2)
	Expect(err).NotTo(HaveOccurred())
	b[0] ^= 1
	_, err = out.WriteAt(b[:], info.Size()/2)
	Expect(err).NotTo(HaveOccurred())
}
