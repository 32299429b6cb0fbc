package lab_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

var _ = Describe("Reverts in a row", func() {
	again := func(ctx SpecContext, reverts int) {
		lab := labtest.Start(ctx, "../../topologies/single.yaml")
		solo := lab.Node("solo")
		Expect(solo.Shell(ctx, "echo before >/root/state; systemd-run --unit=keeper sleep 36000")).To(ExitWith(0))
		Expect(lab.Snapshot(ctx)).To(Succeed())
		want := lookInto(ctx, solo)
		Expect(want).To(And(ContainSubstring("/root/state"), ContainSubstring("sleep 36000"), ContainSubstring("systemd-journald")), "it looks at what counts")

		draws := map[string]int{}
		var first footprint
		for i := 1; i <= reverts; i++ {
			Expect(solo.Shell(ctx, "echo after >/root/state; rm -r /etc/ssh; touch /root/new; systemctl stop keeper; systemd-run --unit=intruder sleep 3600")).
				To(ExitWith(0))
			Expect(lab.Revert(ctx)).To(Succeed(), "revert %d", i)
			expectRightTime(ctx, solo)
			Expect(lookInto(ctx, solo)).To(Equal(want), "what is in the guest after revert %d", i)
			draw := line(ctx, solo, "od", "-An", "-vtx1", "-w32", "-N32", "/dev/urandom")
			Expect(draws).NotTo(HaveKey(draw), "random numbers after revert %d", i)
			draws[draw] = i
			if i == settled {
				first = footprintOf(lab)
			}
		}
		last := footprintOf(lab)
		AddReportEntry(fmt.Sprintf("after %d and after %d reverts", settled, reverts), fmt.Sprintf("%s\n%s", first, last))
		Expect(last.goroutines).To(BeNumerically("<=", first.goroutines), "goroutines")
		Expect(last.descriptors).To(BeNumerically("<=", first.descriptors), "descriptors of this process and of libvirtd")
		Expect(last.files).To(Equal(first.files), "files of the lab on the host")
		Expect(last.disk).To(BeNumerically("<=", first.disk+1<<20), "disk")
		// The transcript keeps each command; it is evidence.
		Expect(last.heap).To(BeNumerically("<=", first.heap+1<<20+uint64(reverts)*8<<10), "memory of this process")
		Expect(last.daemons).To(BeNumerically("<=", first.daemons+4<<20), "memory of libvirtd")
		Expect(last.machines).To(BeNumerically("<=", first.machines+first.machines/4), "memory of QEMU")
	}

	It("leave the guest as it was, and nothing on the host: six", Label("vm", "warm"), func(ctx SpecContext) {
		again(ctx, 6)
	}, NodeTimeout(25*time.Minute))

	// LABELS=soak runs this: some ten minutes.
	It("leave the guest as it was, and nothing on the host: two hundred", Label("vm", "soak"), func(ctx SpecContext) {
		again(ctx, 200)
	}, NodeTimeout(90*time.Minute))
})

// settled is the revert after which nothing is done for the first time any more.
const settled = 4

// lookProgram prints all files of the guest that are not a log or about the running kernel, with the times of their last
// change, and all processes of services with the times of their start. Sessions of SSH come and go.
const lookProgram = `use strict; my @todo=("/etc","/root","/home","/opt","/srv","/usr/local","/boot","/var/lib");
while(defined(my $d=shift @todo)){ opendir(my $h,$d) or next;
  for my $n (sort readdir $h){ next if $n eq "." or $n eq ".."; my $p="$d/$n"; my @s=lstat $p or next;
    printf "%s %o %d %d %d %d\n",$p,$s[2],$s[4],$s[7],$s[9],$s[10]; push @todo,$p if -d _ && !-l _ } }
for my $p (sort glob "/proc/[0-9]*"){ open(my $c,"<","$p/cgroup") or next; my $g=<$c>//""; next unless $g=~m{^0::/(system\.slice|init\.scope)};
  next if $g=~m{/ssh}; open(my $l,"<","$p/cmdline") or next; my $a=<$l>//""; $a=~tr/\0/ /; open(my $t,"<","$p/stat") or next;
  my @f=split / /,(<$t>=~s/.*\) //r); print "$p $f[19] $a\n" }`

// lookInto is what the guest's files and processes are.
func lookInto(ctx SpecContext, node *labtest.Node) string {
	GinkgoHelper()
	return line(ctx, node, "perl", "-e", lookProgram)
}

// footprint is what a lab takes of the host.
type footprint struct {
	goroutines, descriptors int
	heap                    uint64 // bytes in use in this process
	daemons, machines       int64  // bytes of memory of their own: libvirtd's and QEMU's
	disk                    int64  // bytes that the lab's files take
	files                   []string
}

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, heap %d kB, libvirtd %d kB, QEMU %d kB, disk %d kB in %d files",
		f.goroutines, f.descriptors, f.heap>>10, f.daemons>>10, f.machines>>10, f.disk>>10, len(f.files))
}

// footprintOf measures when what ends asynchronously has ended.
func footprintOf(l *labtest.Lab) footprint {
	GinkgoHelper()
	var f footprint
	Eventually(func() footprint {
		before := f
		f = measureFootprint(l)
		return before
	}).Within(10*time.Second).ProbeEvery(500*time.Millisecond).Should(WithTransform(func(before footprint) bool {
		return before.goroutines == f.goroutines && before.descriptors == f.descriptors
	}, BeTrue()), "goroutines and descriptors come to rest")
	return f
}

func measureFootprint(l *labtest.Lab) footprint {
	GinkgoHelper()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	f := footprint{goroutines: runtime.NumGoroutine(), heap: memory.HeapAlloc}
	self := strconv.Itoa(os.Getpid())
	for pid := range family() {
		command, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		name, _, _ := strings.Cut(string(command), "\x00")
		switch {
		case pid == self:
		case strings.HasSuffix(name, "/libvirtd"):
			f.daemons += ownBytes(pid)
		case strings.Contains(name, "qemu-system"):
			f.machines += ownBytes(pid)
			continue // each has those that it needs, and is a new one after each revert
		default:
			continue
		}
		open, err := os.ReadDir("/proc/" + pid + "/fd")
		Expect(err).NotTo(HaveOccurred())
		f.descriptors += len(open)
	}
	state := os.Getenv("LABTEST_STATE_DIR")
	if state == "" {
		state = stateFolder()
	}
	Expect(filepath.WalkDir(filepath.Join(state, l.ID()), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		f.files = append(f.files, path)
		f.disk += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})).To(Succeed())
	Expect(f.files).To(ContainElement(HaveSuffix(".qcow2")), "the lab's disks are among the files that were counted")
	return f
}

// stateFolder is where the disks of labs are by default.
func stateFolder() string {
	GinkgoHelper()
	if os.Geteuid() == 0 {
		return "/var/lib/labtest"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "labtest")
	}
	home, err := os.UserHomeDir()
	Expect(err).NotTo(HaveOccurred())
	return filepath.Join(home, ".local", "state", "labtest")
}

// ownBytes is what a process holds of memory that is no file's: proc(5), smaps_rollup. Its share of programs and libraries
// depends on who else on the host uses them.
func ownBytes(pid string) int64 {
	GinkgoHelper()
	text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	Expect(err).NotTo(HaveOccurred())
	sum := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && strings.HasPrefix(fields[0], "Pss_") {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			Expect(err).NotTo(HaveOccurred())
			sum[fields[0]] = kb << 10
		}
	}
	Expect(sum).To(And(HaveKey("Pss_Anon:"), HaveKey("Pss_Shmem:")), "what smaps_rollup tells about process "+pid)
	return sum["Pss_Anon:"] + sum["Pss_Shmem:"]
}
