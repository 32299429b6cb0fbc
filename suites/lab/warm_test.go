package lab_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
	"ionlab/suites/room"
)

var _ = Describe("A lab that starts from a snapshot", Ordered, ContinueOnFailure, Label("vm", "warm"), func() {
	const file = "../../topologies/single.yaml"
	var first, second *labtest.Node
	var own room.Room

	BeforeAll(func(ctx SpecContext) {
		labtest.Prepare(ctx, file)
		own = room.New().Furnish() // what is damaged below is nobody else's
		own.Enter()
		first = labtest.Start(ctx, file).Node("solo")
		Expect(first.Lab().Beginning()).To(HavePrefix("warm start: snapshot "), "from a cache folder that lies elsewhere")
		began := time.Now()
		second = labtest.Start(ctx, file).Node("solo")
		Expect(second.Exec(ctx, "true")).To(ExitWith(0))
		AddReportEntry("a warm start, to the result of a first command", time.Since(began).String())
	}, NodeTimeout(20*time.Minute))

	It("is the machine that was saved, and nothing in it has noticed", func(ctx SpecContext) {
		Expect(second.Lab().Beginning()).To(HavePrefix("warm start: snapshot "))
		Expect(line(ctx, second, "cat", "/proc/sys/kernel/random/boot_id")).To(Equal(line(ctx, first, "cat", "/proc/sys/kernel/random/boot_id")))
		Expect(second.Exec(ctx, "hostname")).To(OutputContaining("solo"))
		Expect(second.Exec(ctx, "systemctl", "is-system-running")).To(OutputContaining("running"))
		Expect(second.Exec(ctx, "systemctl", "is-active", "qemu-guest-agent")).To(ExitWith(0))
		Expect(string(second.Console().Contents())).To(MatchRegexp("Welcome to .*Debian"), "what it printed when it booted")
		Expect(second.WriteFile(ctx, "/root/here", []byte("second"), 0o600)).To(Succeed())
		Expect(first.Exec(ctx, "test", "-e", "/root/here")).To(ExitWith(1), "the disks have nothing to do with each other")
		Expect(second.Addr("lan")).To(Equal(first.Addr("lan")), "two labs at once, with the same addresses")
	}, NodeTimeout(3*time.Minute))

	It("has its memory from the snapshot's image, of which others use the same pages, until it writes to it", func(ctx SpecContext) {
		image := filepath.Join(own.Snapshot(), "solo.memory")
		secret := "2b7e151628aed2a6abf7158809cf4f3c"
		Expect(second.WriteFile(ctx, "/dev/shm/secret", []byte(strings.Repeat(secret, 4096)), 0o600)).To(Succeed())
		for _, node := range []*labtest.Node{first, second} {
			used := mapping(qemuOf(node), image)
			AddReportEntry("KiB of "+image+" in "+node.Lab().ID(), used)
			Expect(used["Shared_Clean"]).To(BeNumerically(">", 10<<10), "KiB that the other machine has in its memory too")
			Expect(used["Private_Dirty"]).To(BeNumerically(">", 0), "KiB that it has written to, for itself")
			Expect(used["Shared_Dirty"]).To(BeZero())
		}
		content, err := os.ReadFile(image)
		Expect(err).NotTo(HaveOccurred())
		Expect(strings.Contains(string(content), secret)).To(BeFalse(), "what a machine writes is not in the image")
	}, NodeTimeout(3*time.Minute))

	It("has the right time", func(ctx SpecContext) {
		expectRightTime(ctx, second)
		expectRightTime(ctx, first)
	}, NodeTimeout(2*time.Minute))

	It("is set up once, and begins there until the set-up changes", func(ctx SpecContext) {
		before := own.SnapshotRefs()
		input := filepath.Join(GinkgoT().TempDir(), "input")
		times := 0
		start := func(text string) *labtest.Node {
			Expect(os.WriteFile(input, []byte(text), 0o600)).To(Succeed())
			return labtest.Start(ctx, file, labtest.WithSetup(labtest.Setup{Files: []string{input}, Do: func(ctx context.Context, l *labtest.Lab) error {
				times++
				solo := l.Node("solo")
				Expect(solo.Exec(ctx, "systemd-run", "--unit=counter", "sh", "-c", "while sleep 1; do date +%s >>/var/tmp/count; done")).To(ExitWith(0))
				return solo.Upload(ctx, input, "/var/tmp/input")
			}})).Node("solo")
		}
		pid := func(n *labtest.Node) string { return line(ctx, n, "systemctl", "show", "-P", "MainPID", "counter") }
		made := start("one")
		Expect(made.Lab().Beginning()).To(And(HavePrefix("warm start: snapshot "), ContainSubstring("; set up in ")))
		again := start("one")
		Expect(again.Lab().Beginning()).To(ContainSubstring(", set up already, "))
		Expect(times).To(Equal(1))
		Expect(again.ReadFile(ctx, "/var/tmp/input")).To(BeEquivalentTo("one"))
		Expect(pid(again)).To(And(Not(Equal("0")), Equal(pid(made))), "one process, which goes on in both")
		now := line(ctx, again, "date", "+%s")
		Eventually(ctx, func() string { return line(ctx, again, "tail", "-n1", "/var/tmp/count") }).WithTimeout(30*time.Second).
			Should(Satisfy(func(last string) bool { return last > now }), "it does its work, by the right clock")
		expectRightTime(ctx, again)
		other := start("two")
		Expect(times).To(Equal(2), "another build is installed")
		Expect(other.Lab().Beginning()).To(ContainSubstring("; set up in "))
		Expect(other.ReadFile(ctx, "/var/tmp/input")).To(BeEquivalentTo("two"))
		fresh := slices.DeleteFunc(own.SnapshotRefs(), func(ref string) bool { return slices.Contains(before, ref) })
		Expect(fresh).To(HaveLen(2), "two set-ups are kept; that a full store gave up others for them is all right")
	}, NodeTimeout(8*time.Minute))

	It("has random numbers of its own", func(ctx SpecContext) {
		third := labtest.Start(ctx, file).Node("solo")
		fourth := labtest.Start(ctx, file).Node("solo")
		draw := []string{"od", "-An", "-vtx1", "-w32", "-N32", "/dev/urandom"}
		Expect(line(ctx, third, draw...)).NotTo(Equal(line(ctx, fourth, draw...)))
		Expect(line(ctx, third, "cat", "/proc/sys/kernel/random/uuid")).NotTo(Equal(line(ctx, fourth, "cat", "/proc/sys/kernel/random/uuid")))
	}, NodeTimeout(5*time.Minute))

	It("goes back to a snapshot of its own: files, processes, clock", func(ctx SpecContext) {
		lab := first.Lab()
		Expect(first.Shell(ctx, "echo before >/root/state; systemd-run --unit=keeper sleep 3600")).To(ExitWith(0))
		Expect(first.Exec(ctx, "date", "-s", "+22 seconds")).To(ExitWith(0))
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
})

// mapping is what smaps tells of the parts of a file in a process's memory, in KiB (proc(5)).
func mapping(pid int, path string) map[string]int {
	GinkgoHelper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	Expect(err).NotTo(HaveOccurred())
	sums, inside := map[string]int{}, false
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case !strings.HasSuffix(fields[0], ":"):
			inside = strings.HasSuffix(strings.TrimSpace(line), " "+path)
		case inside && len(fields) == 3:
			kib, err := strconv.Atoi(fields[1])
			Expect(err).NotTo(HaveOccurred())
			sums[strings.TrimSuffix(fields[0], ":")] += kib
		}
	}
	return sums
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
