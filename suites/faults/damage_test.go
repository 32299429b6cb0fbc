package faults_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
	. "ionlab/matchers"
	"ionlab/suites/room"
)

var _ = Describe("Damage", Label("vm", "damage"), func() {
	// works starts a lab and has it do something.
	works := func(ctx SpecContext) *labtest.Lab {
		GinkgoHelper()
		lab := labtest.Start(ctx, single)
		Expect(lab.Node("solo").Exec(ctx, "true")).To(ExitWith(0))
		return lab
	}

	It("of libvirtd, killed under a running lab, ends its nodes at once and says so; the next lab starts", func(ctx SpecContext) {
		lab := works(ctx)
		Expect(syscall.Kill(libvirtdOf(in), syscall.SIGKILL)).To(Succeed())
		began := time.Now()
		_, err := lab.Node("solo").Exec(ctx, "sleep", "60")
		Expect(err).To(MatchError(And(ContainSubstring(`node "solo" is dead: `), ContainSubstring("the private libvirtd died and took its domains along"))))
		Expect(time.Since(began)).To(BeNumerically("<", 5*time.Second))
		Eventually(in.Processes).Within(2*time.Second).Should(BeEmpty(), "no machine outlives it")
		Expect(lab.Node("solo").PowerOn(ctx)).To(MatchError(ContainSubstring("the private libvirtd is gone")))
		works(ctx)
	}, NodeTimeout(5*time.Minute))

	It("of a running lab's overlay, cut off, is the lab's alone: the next one starts", Label("faults"), func(ctx SpecContext) {
		lab := works(ctx)
		disk := filepath.Join(in.State, lab.ID(), "disks", "solo.qcow2")
		Expect(os.Truncate(disk, 1000)).To(Succeed())
		Expect(lab.Node("solo").PowerOff(ctx)).To(Succeed())
		err := lab.Node("solo").PowerOn(ctx)
		Expect(err).To(MatchError(And(ContainSubstring(`node "solo" is dead: its kernel panicked`), ContainSubstring("Input/output error"))),
			"the guest says what is wrong with its disk")
		works(ctx)
	}, NodeTimeout(5*time.Minute))

	It("by a full disk pauses the machine, and its node says why; with space again it boots", func(ctx SpecContext) {
		victim := []string{self(), "--ginkgo.label-filter=" + roleVictim, "--ginkgo.v", "--ginkgo.no-color"}
		Expect(inTmpfs(ctx, in, in.State, "1300m", victim, roleVariable+"="+roleVictim, phaseVariable+"=disk-full",
			topologyVariable+"="+single, fullVariable+"="+in.State)).To(gexec.Exit(0))
	}, NodeTimeout(10*time.Minute))

	It("by a full disk ends a download with the remedy, and the next one goes on from there", Label("faults"), func(ctx SpecContext) {
		downloads := filepath.Join(in.Cache, "images", "downloads")
		script := `"$1" image pull "$2"; echo "status $?"; ls -s "$3"; mount -o remount,size=100m "$3" && exec "$1" image pull "$2"`
		session := inTmpfs(ctx, in, downloads, "8m", []string{"sh", "-c", script, "sh", labtestProgram(), serveImage(), downloads})
		Expect(session).To(gexec.Exit(0))
		Expect(session.Out).To(gbytes.Say("status 1\n"))
		Expect(session.Out).To(gbytes.Say(`[1-9]\d{3} download-.*\.part`), "what has come is kept")
		Expect(session.Err).To(gbytes.Say("no space left on device: free some space in .*labtest image rm NAME, labtest gc"))
	}, NodeTimeout(5*time.Minute))

	It("of the cache folder, removed under a running lab, does not touch that lab, and the folder is made again", func(ctx SpecContext) {
		lab := works(ctx)
		takeAway(in.Cache)
		Expect(lab.Node("solo").Shell(ctx, "echo 3 >/proc/sys/vm/drop_caches; cat /usr/bin/perl | wc -c")).To(ExitWith(0), "from the disk that has no name any more")
		small := stage{in: in, url: serveImage()}.topology(phase{name: "download"}, 0)
		session := start(in, "download", small, "LABTEST_WARM=off")
		Eventually(ctx, session).Within(time.Minute).Should(gexec.Exit(0), "what can be had again is had again")
		Expect(lab.Node("solo").Exec(ctx, "true")).To(ExitWith(0))
	}, NodeTimeout(5*time.Minute))

	It("of the cache folder, removed before a start, costs a build and a cold start", Label("faults"), func(ctx SpecContext) {
		takeAway(in.Cache)
		Expect(works(ctx).Beginning()).To(Equal("cold start: there is no snapshot of this lab yet"))
		Expect(works(ctx).Beginning()).To(HavePrefix("warm start: "))
	}, NodeTimeout(30*time.Minute))

	DescribeTable("of a snapshot's file leads to a cold start with the reason, which leaves a new one", Label("faults"),
		func(ctx SpecContext, name, says string, harm func([]byte) []byte) {
			Expect(works(ctx).Beginning()).To(HavePrefix("warm start: "))
			path := filepath.Join(in.Snapshot(), name)
			if name == "reference" {
				key, _, _ := strings.Cut(filepath.Base(in.Snapshot()), "-")
				path = filepath.Join(in.Cache, "snapshots", "refs", key)
			}
			room.Damage(path, harm)
			Expect(works(ctx).Beginning()).To(And(HavePrefix("cold start: "), MatchRegexp(says)))
			Expect(works(ctx).Beginning()).To(HavePrefix("warm start: "))
		},
		Entry("state of its devices, one bit flipped", "solo.state", "is damaged: the content of solo.state has changed", room.FlipBit, NodeTimeout(10*time.Minute)),
		Entry("memory, cut off", "solo.memory", "is damaged: solo.memory has \\d+ bytes instead of", room.CutOff, NodeTimeout(10*time.Minute)),
		Entry("layer, one bit", "solo.qcow2", "is damaged: the content of solo.qcow2 has changed", room.FlipBit, NodeTimeout(10*time.Minute)),
		Entry("layer, cut off", "solo.qcow2", "is damaged: solo.qcow2 has \\d+ bytes instead of", room.CutOff, NodeTimeout(10*time.Minute)),
		Entry("seed, one bit", "solo.iso", "is damaged: the content of solo.iso has changed", room.FlipBit, NodeTimeout(10*time.Minute)),
		Entry("console, cut off", "solo.console", "is damaged: solo.console has", room.CutOff, NodeTimeout(10*time.Minute)),
		Entry("manifest, one bit", "manifest.json", "is damaged: ", room.FlipBit, NodeTimeout(10*time.Minute)),
		Entry("reference, cut off", "reference", "is damaged: read manifest: .* has changed since it was written", room.CutOff, NodeTimeout(10*time.Minute)),
	)

	DescribeTable("of an image's file has it made again", Label("faults"), func(ctx SpecContext, name string, harm func([]byte) []byte) {
		object := filepath.Join(in.Cache, "images", "objects", imageOf(in, "recipe"))
		room.Damage(filepath.Join(object, name), harm)
		Expect(works(ctx).Beginning()).To(HavePrefix("cold start: "), "it is another image")
		Expect(object).NotTo(BeADirectory())
	},
		Entry("disk, one bit", "disk.qcow2", room.FlipBit, NodeTimeout(20*time.Minute)),
		Entry("disk, cut off", "disk.qcow2", room.CutOff, NodeTimeout(20*time.Minute)),
		Entry("kernel, one bit", "vmlinuz", room.FlipBit, NodeTimeout(20*time.Minute)),
	)
})

// takeAway removes a folder until the end of the spec. It is moved where nobody looks: who has its files open keeps them.
func takeAway(dir string) {
	GinkgoHelper()
	Expect(os.Rename(dir, dir+".gone")).To(Succeed())
	DeferCleanup(func() {
		Expect(os.RemoveAll(dir)).To(Succeed())
		Expect(os.Rename(dir+".gone", dir)).To(Succeed())
	})
}

// libvirtdOf is the process id of the one libvirtd in a room.
func libvirtdOf(in room.Room) int {
	GinkgoHelper()
	for _, process := range in.Processes() {
		words := strings.Fields(process)
		if len(words) == 2 && filepath.Base(words[1]) == "libvirtd" {
			pid, err := strconv.Atoi(words[0])
			Expect(err).NotTo(HaveOccurred())
			return pid
		}
	}
	Fail("no libvirtd runs in " + in.Root)
	return 0
}

// inTmpfs runs a program that finds a small tmpfs of its own at a folder: nothing of it is seen outside.
func inTmpfs(ctx SpecContext, in room.Room, dir, size string, program []string, env ...string) *gexec.Session {
	GinkgoHelper()
	Expect(os.MkdirAll(dir, 0o711)).To(Succeed())
	argv := []string{"--mount"}
	if os.Geteuid() != 0 {
		argv = append(argv, "--user", "--map-current-user", "--keep-caps")
	}
	const script = `mount -t tmpfs -o mode=0711,size="$1" tmpfs "$2" && shift 2 && exec "$@"`
	argv = append(argv, "sh", "-c", script, "sh", size, dir)
	cmd := exec.CommandContext(ctx, "unshare", append(argv, program...)...)
	cmd.Env = append(append(os.Environ(), in.Env()...), env...)
	session, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, session).Within(9 * time.Minute).Should(gexec.Exit())
	return session
}

// imageOf is the object to which the newest reference of a kind leads: the cache may have images of older recipes.
func imageOf(in room.Room, kind string) string {
	GinkgoHelper()
	paths, err := filepath.Glob(filepath.Join(in.Cache, "images", "refs", kind+"-*.json"))
	Expect(err).NotTo(HaveOccurred())
	var newest struct {
		Object  string
		Created time.Time
	}
	for _, path := range paths {
		next := newest
		text, err := os.ReadFile(path)
		Expect(err).NotTo(HaveOccurred())
		Expect(json.Unmarshal(text, &next)).To(Succeed(), "%s: %s", path, text)
		if next.Created.After(newest.Created) {
			newest = next
		}
	}
	Expect(newest.Object).To(HaveLen(40), "of %q", paths)
	return newest.Object
}
