package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"ionlab/internal/guest"
	"ionlab/internal/snapshot"
)

// warmBench is a lab that may start warm, on a host and in folders that others may share.
func warmBench(t testing.TB, dirs Dirs, host *fakeHost, text string, change func(*Config)) *bench {
	t.Helper()
	b := newBenchIn(t, dirs, text, func(c *Config) {
		c.ColdStart, c.Host = false, host
		if change != nil {
			change(c)
		}
	})
	b.host = host
	return b
}

// leaveSnapshot has a lab make the snapshot of a topology and end.
func leaveSnapshot(t testing.TB, dirs Dirs, host *fakeHost, text string) *bench {
	t.Helper()
	b := warmBench(t, dirs, host, text, nil)
	b.up()
	NewWithT(t).Expect(b.Close()).To(Succeed())
	return b
}

func warm() types.GomegaMatcher {
	return MatchRegexp(`^warm start: snapshot [0-9a-f]{8}, made \d+s ago$`)
}

func cold(why string) types.GomegaMatcher {
	return And(HavePrefix("cold start: "), ContainSubstring(why))
}

func stagesOf(n *Node) (names []string) {
	for _, stage := range n.Stages() {
		names = append(names, stage.Stage)
	}
	return names
}

func TestTheFirstStartLeavesASnapshotAndGoesOnFromIt(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	b := warmBench(t, dirs, host, two, nil)
	b.up()
	g.Expect(b.Beginning()).To(Equal("cold start: there is no snapshot of this lab yet"))
	g.Expect(b.told()).To(ContainElements(": making a snapshot", MatchRegexp(`^: snapshot [0-9a-f]{8}, \d+ MB, in .+: the next start is warm$`)))
	for _, node := range b.Nodes() {
		g.Expect(stagesOf(node)).To(Equal([]string{"kernel", "sshd", "login", "cloud-init", "units", "restore", "login", "wake"}))
		g.Expect(status(node)()).To(Equal("ready"))
		g.Expect(host.machine(t, node.Name()).saved).NotTo(BeNil(), "it runs what was saved")
		client, err := node.Guest()
		g.Expect(err).NotTo(HaveOccurred())
		res, err := client.Run(within(t), guest.Cmd{Argv: []string{"true"}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.ExitCode()).To(BeZero())
	}
	infos := snapshotsIn(t, dirs)
	g.Expect(infos).To(HaveLen(1))
	g.Expect(infos[0].Nodes).To(Equal([]string{"alice", "bob"}))
	g.Expect(infos[0].InUse).To(BeTrue())
	g.Expect(b.Close()).To(Succeed())
	g.Expect(snapshotsIn(t, dirs)[0].InUse).To(BeFalse())
}

func snapshotsIn(t testing.TB, dirs Dirs) []snapshot.Info {
	t.Helper()
	store, err := snapshot.Open(snapshot.Config{Dir: filepath.Join(dirs.Cache, "snapshots")})
	if err != nil {
		t.Fatal(err)
	}
	infos, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

func TestTheSecondStartIsWarm(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	first := leaveSnapshot(t, dirs, host, two)
	second := warmBench(t, dirs, host, two, nil)
	second.up()
	g.Expect(second.Beginning()).To(warm())
	for i, node := range second.Nodes() {
		g.Expect(stagesOf(node)).To(Equal([]string{"restore", "login", "wake"}))
		g.Expect(node.uuid).To(Equal(first.Nodes()[i].uuid))
		g.Expect(node.ConsoleLines(10)).To(ContainElement(ContainSubstring("Linux version 6.1.0 (fake)")), "what it printed when it booted")
		g.Expect(node.Reboot(within(t))).To(Succeed(), "cloud-init's instance is the one of the first boot")
	}
	third := warmBench(t, dirs, host, two, nil)
	third.up()
	g.Expect(third.Beginning()).To(warm(), "beside the other")
}

func TestMemoryIsMappedWhereItCanBeTakenOutOfTheState(t *testing.T) {
	t.Parallel()
	for name, mapped := range map[string]bool{"the form that is known": true, "another form": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dirs, host := testDirs(t), newFakeHost(t)
			host.savesOtherwise = !mapped
			leaveSnapshot(t, dirs, host, one)
			entry := snapshotsIn(t, dirs)[0].Path
			g.Expect(filepath.Join(entry, "alice.state")).To(BeARegularFile())
			g.Expect(exists(filepath.Join(entry, "alice.memory"))).To(Equal(mapped))
			b := warmBench(t, dirs, host, one, nil)
			b.up()
			g.Expect(b.Beginning()).To(warm())
			g.Expect(host.machine(t, "alice").xml).To(Satisfy(func(xml string) bool {
				return strings.Contains(xml, "mem-path="+entry+"/alice.memory") == mapped
			}))
			g.Expect(b.Snapshot(within(t))).To(Succeed())
			g.Expect(b.Revert(within(t))).To(Succeed())
			g.Expect(strings.Contains(host.machine(t, "alice").xml, "mem-path="+b.stateDir("snapshots")+"/1-alice.memory")).To(Equal(mapped))
			g.Expect(host.machine(t, "alice").saved).NotTo(BeNil())
		})
	}
}

func TestACacheThatMovedIsStillWarm(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	images := filepath.Join(dirs.Cache, "images")
	g.Expect(os.Mkdir(dirs.Cache, 0o755)).To(Succeed())
	g.Expect(os.Rename(host.dir, images)).To(Succeed())
	host.dir = images
	leaveSnapshot(t, dirs, host, two)
	g.Expect(host.rebased).To(ConsistOf("alice.qcow2 ../../../images/disk.qcow2 qcow2", "bob.qcow2 ../../../images/disk.qcow2 qcow2"))

	g.Expect(os.Rename(dirs.Cache, dirs.Cache+"2")).To(Succeed())
	dirs.Cache += "2"
	host.dir = filepath.Join(dirs.Cache, "images")
	b := warmBench(t, dirs, host, two, nil)
	b.up()
	g.Expect(b.Beginning()).To(warm())
}

func TestAnImageOutsideTheCacheIsKnownByItsPath(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	leaveSnapshot(t, dirs, host, one)
	g.Expect(host.rebased).To(BeEmpty())
	g.Expect(os.Rename(host.dir, host.dir+"2")).To(Succeed())
	t.Cleanup(func() { _ = os.RemoveAll(host.dir) })
	host.dir += "2"
	b := warmBench(t, dirs, host, one, nil)
	b.up()
	g.Expect(b.Beginning()).To(cold("there is no snapshot of this lab yet"))
}

func TestDeployComesAfterTheRestoreAndIsNoPartOfTheKey(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	leaveSnapshot(t, dirs, host, one)
	tool, to := filepath.Join(t.TempDir(), "tool"), filepath.Join(t.TempDir(), "there")
	g.Expect(os.WriteFile(tool, []byte("#!/bin/sh\n"), 0o600)).To(Succeed())
	b := warmBench(t, dirs, host, strings.Replace(one, "memory_mb: 128",
		fmt.Sprintf(`memory_mb: 128, ports: ["127.0.0.1:0:22"], deploy: [{src: %s, dest: %s}]`, tool, to), 1), nil)
	b.up()
	g.Expect(b.Beginning()).To(warm())
	g.Expect(to).To(BeAnExistingFile())
}

func TestWhatChangesTheGuestChangesTheKey(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	leaveSnapshot(t, dirs, host, one)
	for name, text := range map[string]string{
		"memory":  strings.Replace(one, "128", "129", 1),
		"env":     strings.Replace(one, "memory_mb: 128", "memory_mb: 128, env: {A: b}", 1),
		"packets": strings.Replace(one, "memory_mb: 128", "memory_mb: 128, networks: [{name: lan, ip: 10.9.0.7}]", 1) + "\nnetworks: [{name: lan, subnet: 10.9.0.0/24}]",
		"another": strings.Replace(one, "name: one", "name: uno", 1),
	} {
		b := warmBench(t, dirs, host, text, nil)
		b.up()
		g.Expect(b.Beginning()).To(cold("there is no snapshot of this lab yet"), name)
		g.Expect(b.Close()).To(Succeed())
	}
	b := warmBench(t, dirs, host, one, func(c *Config) { c.AllowFailedUnits = true })
	b.up()
	g.Expect(b.Beginning()).To(cold("there is no snapshot"))
}

func TestColdStartOnRequest(t *testing.T) {
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	leaveSnapshot(t, dirs, host, one)
	b := warmBench(t, dirs, host, one, func(c *Config) { c.ColdStart = true })
	b.up()
	g.Expect(b.Beginning()).To(Equal("cold start: asked for"))
	t.Setenv("LABTEST_WARM", "off")
	b = warmBench(t, dirs, host, one, nil)
	b.up()
	g.Expect(b.Beginning()).To(Equal("cold start: LABTEST_WARM=off"))
	t.Setenv("LABTEST_WARM", "maybe")
	b = warmBench(t, dirs, host, one, nil)
	g.Expect(b.Start(within(t))).To(MatchError(`LABTEST_WARM="maybe": want on or off`))
	g.Expect(b.told()).To(BeEmpty(), "it is seen before anything is made")
}

func TestWhatIsWrongWithASnapshotLeadsToAColdStartAndANewOne(t *testing.T) {
	t.Parallel()
	// wrong makes the guest give wrong answers so many times: those of the old snapshot.
	wrong := func(out string, times int) func(testing.TB, Dirs, *fakeHost) {
		return func(_ testing.TB, _ Dirs, host *fakeHost) {
			host.plan("alice").set(func(now *behaviour) {
				now.answers = []answer{{match: "clock_settime", out: out, before: func() {
					if times--; times == 0 {
						host.plan("alice").set(func(now *behaviour) { now.answers = nil })
					}
				}}}
			})
		}
	}
	for name, test := range map[string]struct {
		spoil func(testing.TB, Dirs, *fakeHost)
		want  string
	}{
		"flipped byte": {spoilFile("alice.memory", func(data []byte) []byte { data[10] ^= 1; return data }), "is damaged: the content of alice.memory has changed"},
		"truncated":    {spoilFile("alice.qcow2", func([]byte) []byte { return []byte("x") }), "is damaged: alice.qcow2 has 1 bytes instead of 0"},
		"nonce":        {wrong("another CLOCK RANDOM\n", 1), `the restored guest is not the one that was saved: the nonce of its boot is "another"`},
		"clock":        {wrong("NONCE 1700000000.000000000 RANDOM\n", 3), "its clock says 2023-11-14T22:13:20Z, where the host's says "},
		"answer":       {wrong("rubbish\n", 1), `the restored guest answers "rubbish\n"`},
		"restore": {func(_ testing.TB, _ Dirs, host *fakeHost) {
			host.failRestoreOnce = errors.New("unsupported configuration")
		}, `node "alice": stage "restore": unsupported configuration`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dirs, host := testDirs(t), newFakeHost(t)
			first := leaveSnapshot(t, dirs, host, one)
			test.spoil(t, dirs, host)
			b := warmBench(t, dirs, host, one, nil)
			b.up()
			g.Expect(b.Beginning()).To(cold(test.want))
			g.Expect(stagesOf(b.node("alice"))).To(HaveExactElements("kernel", "sshd", "login", "cloud-init", "units", "restore", "login", "wake"))
			g.Expect(b.node("alice").uuid).NotTo(Equal(first.node("alice").uuid))
			g.Expect(b.Close()).To(Succeed())
			next := warmBench(t, dirs, host, one, nil)
			next.up()
			g.Expect(next.Beginning()).To(warm(), "of the snapshot that the cold start has left")
		})
	}
}

// spoilFile changes a file of the only entry of the store.
func spoilFile(name string, change func([]byte) []byte) func(testing.TB, Dirs, *fakeHost) {
	return func(t testing.TB, dirs Dirs, _ *fakeHost) {
		t.Helper()
		g := NewWithT(t)
		path := filepath.Join(snapshotsIn(t, dirs)[0].Path, name)
		data, err := os.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.Chmod(path, 0o600)).To(Succeed())
		g.Expect(os.WriteFile(path, change(data), 0o600)).To(Succeed())
	}
}

func TestALabThatCannotBeSavedStartsColdAllTheSame(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	host.failSave = errors.New("no space left on device")
	b := warmBench(t, dirs, host, two, nil)
	b.up()
	g.Expect(b.Beginning()).To(cold(`no snapshot could be made: node "`))
	g.Expect(b.Beginning()).To(ContainSubstring("no space left on device"))
	for _, node := range b.Nodes() {
		g.Expect(stagesOf(node)).To(Equal([]string{"kernel", "sshd", "login", "cloud-init", "units"}))
	}
	g.Expect(snapshotsIn(t, dirs)).To(BeEmpty())
	g.Expect(os.ReadDir(filepath.Join(dirs.Cache, "snapshots", "tmp"))).To(HaveLen(1), "but for the lock")
	g.Expect(b.Close()).To(Succeed())
	b = warmBench(t, dirs, host, two, nil)
	b.up()
	g.Expect(b.Beginning()).To(cold("no space left on device (that was found out before)"))
	g.Expect(b.told()).NotTo(ContainElement(": making a snapshot"), "it is not tried again at each start")
}

func TestALabWhoseSnapshotsAreRemovedUnderItStartsAllTheSame(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	host.holdAt("save alice")
	b := warmBench(t, dirs, host, one, nil)
	done := make(chan error, 1)
	go func() { done <- b.Start(within(t)) }()
	g.Eventually(host.reached).WithTimeout(patience).Should(Receive(Equal("save alice")))
	g.Expect(os.RemoveAll(filepath.Join(dirs.Cache, "snapshots"))).To(Succeed())
	host.release("save alice")
	g.Eventually(done).WithTimeout(patience).Should(Receive(BeNil()))
	g.Expect(b.Beginning()).To(cold("no snapshot could be made: "))
	g.Expect(b.told()).To(ContainElement(HavePrefix(": no snapshot remember that snapshot ")))
	g.Expect(run(t, b.node("alice"), "echo", "works")).To(Equal("works\n"))
	g.Expect(b.Close()).To(Succeed())
	next := warmBench(t, dirs, host, one, nil)
	next.up()
	g.Expect(next.Beginning()).To(cold(noSnapshot), "the folder is made again")
}

func TestAGuestThatCouldNotBeWokenIsNotSaved(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	host.plan("bob").set(func(now *behaviour) { now.answers = []answer{{match: "perl -e exit", code: 127}} })
	b := warmBench(t, dirs, host, two, nil)
	b.up()
	g.Expect(b.told()).To(ContainElement(`: no snapshot node "bob": its clock could not be set after a restore: it has neither perl nor python3`))
	g.Expect(stagesOf(b.node("alice"))).To(Equal([]string{"kernel", "sshd", "login", "cloud-init", "units"}), "it was booted once")
	g.Expect(snapshotsIn(t, dirs)).To(BeEmpty())
	g.Expect(run(t, b.node("bob"), "echo", "works")).To(Equal("works\n"))
}

func TestAGuestWhoseDiskLacksWhatItWroteIsNotSaved(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	host.plan("bob").set(func(now *behaviour) { now.answers = []answer{{match: "exec sync", code: 1}} })
	b := warmBench(t, dirs, host, two, nil)
	b.up()
	g.Expect(b.told()).To(ContainElement(HavePrefix(`: no snapshot node "bob": sync exited with 1`)))
	g.Expect(snapshotsIn(t, dirs)).To(BeEmpty())
	g.Expect(b.Snapshot(within(t))).To(MatchError(ContainSubstring(`node "bob": sync exited with 1`)))
	g.Expect(run(t, b.node("bob"), "echo", "works")).To(Equal("works\n"), "nothing was lost by it")
}

func TestTwoOwnersMakeOneSnapshot(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	host.holdAt("save alice")
	first := warmBench(t, dirs, host, one, nil)
	done := make(chan error, 1)
	go func() { done <- first.Start(within(t)) }()
	g.Eventually(first.told).WithTimeout(patience).Should(ContainElement(": making a snapshot"))
	second := warmBench(t, dirs, host, one, nil)
	go func() { done <- second.Start(within(t)) }()
	g.Eventually(second.told).WithTimeout(patience).Should(ContainElement(MatchRegexp(
		`^: waiting for a snapshot process \d+ starts lab [0-9a-f]{6} of topology "one" cold, to make its snapshot$`)))
	host.release("save alice")
	for range 2 {
		g.Eventually(done).WithTimeout(patience).Should(Receive(BeNil()))
	}
	g.Expect(first.Beginning()).To(cold("there is no snapshot"))
	g.Expect(second.Beginning()).To(warm())
}

func TestCloseEndsAStartThatIsMakingASnapshot(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"pause alice", "save alice", "restore"} {
		t.Run(step, func(t *testing.T) {
			g := NewWithT(t)
			dirs, host := testDirs(t), newFakeHost(t)
			host.holdAt(step)
			b := warmBench(t, dirs, host, one, nil)
			done := make(chan error, 1)
			go func() { done <- b.Start(within(t)) }()
			g.Eventually(host.reached).WithTimeout(patience).Should(Receive(Equal(step)))
			began := time.Now()
			g.Expect(b.Close()).To(Succeed())
			g.Eventually(done).WithTimeout(patience).Should(Receive(HaveOccurred()))
			g.Expect(time.Since(began)).To(BeNumerically("<", patience/2))
			g.Expect(os.ReadDir(filepath.Join(dirs.Cache, "snapshots", "tmp"))).To(HaveLen(1), "but for the lock")
			host.release(step)
			next := warmBench(t, dirs, host, one, nil)
			next.up()
		})
	}
}

func TestALabOnTwoNetworksStartsWarm(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	const text = "networks: [{name: west, subnet: 10.81.0.0/24}, {name: east, subnet: 10.82.0.0/24}]\n" +
		"nodes: [{name: alice, memory_mb: 128, networks: [west, east]}]\n"
	leaveSnapshot(t, dirs, host, text)
	b := warmBench(t, dirs, host, text, nil)
	b.up()
	g.Expect(b.Beginning()).To(warm())
}

func TestAClockThatIsOffIsPutRight(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	asked := 0
	b.host.plan("alice").set(func(now *behaviour) {
		now.answers = []answer{{match: "clock_settime", out: "NONCE 4000000000.000000000 RANDOM\n", before: func() {
			asked++
			b.host.plan("alice").set(func(now *behaviour) { now.answers = nil })
		}}}
	})
	g.Expect(b.Revert(within(t))).To(Succeed())
	g.Expect(asked).To(Equal(1))
}

func TestARandomSourceThatRepeatsItselfIsNoticed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	b.host.plan("alice").set(func(now *behaviour) {
		now.answers = []answer{{match: "clock_settime", out: "NONCE CLOCK 00112233445566778899aabbccddeeff\n"}}
	})
	g.Expect(b.Snapshot(within(t))).To(Succeed())
	g.Expect(b.Revert(within(t))).To(MatchError(ContainSubstring("its random source repeats what it gave after an earlier restore")))
}

func TestAClockThatIsAheadReachesTheGuestsPrograms(t *testing.T) {
	for behind, want := range map[time.Duration]string{
		90 * time.Second: "90 0", 1500 * time.Millisecond: "1 500000000", -21500 * time.Millisecond: "-22 500000000", -2 * time.Second: "-2 0",
	} {
		for _, argv := range [][]string{wakePerl(`print "@ARGV"`, behind), wakePython(`import sys; print(*sys.argv[1:], end="")`, behind)} {
			out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
			NewWithT(t).Expect(string(out), err).To(Equal(want), argv[0])
		}
	}
}

func TestParseWake(t *testing.T) {
	g := NewWithT(t)
	state, err := parseWake("n 1700000000.000000007 00112233445566778899aabbccddeeff\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(state).To(Equal(wakeState{"n", time.Unix(1700000000, 7), "00112233445566778899aabbccddeeff"}))
	for _, text := range []string{"", "n", "n 1.0 00", "n x.0 00112233445566778899aabbccddeeff", "n 1.x 00112233445566778899aabbccddeeff", "n 1 00112233445566778899aabbccddeeff"} {
		_, err := parseWake(text)
		g.Expect(err).To(HaveOccurred(), text)
	}
	now := time.Now()
	g.Expect(checkClock(now, now.Add(-time.Second), now.Add(time.Second))).To(Succeed())
	g.Expect(checkClock(now.Add(-3*time.Second), now, now)).To(MatchError(HavePrefix("its clock says ")))
	g.Expect(checkClock(now.Add(3*time.Second), now, now)).To(MatchError(ContainSubstring("where the host's says ")))
}
