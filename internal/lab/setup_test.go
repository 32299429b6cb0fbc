package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"ionlab/internal/fabric/nat"
)

// setting is a set-up that counts how often it was done.
type setting struct {
	done  atomic.Int32
	key   string
	files []string
	do    func(*bench) error // may be nil
}

// bench is a lab that is set up so.
func (s *setting) bench(t testing.TB, dirs Dirs, host *fakeHost, text string) *bench {
	t.Helper()
	var b *bench
	b = warmBench(t, dirs, host, text, func(c *Config) {
		c.SetUp = &SetUp{Key: s.key, Files: s.files, Do: func(context.Context) error {
			s.done.Add(1)
			if s.do == nil {
				return nil
			}
			return s.do(b)
		}}
	})
	return b
}

// leave has a lab be set up so, and end.
func (s *setting) leave(t testing.TB, dirs Dirs, host *fakeHost, text string) *bench {
	t.Helper()
	b := s.bench(t, dirs, host, text)
	b.up()
	NewWithT(t).Expect(b.Close()).To(Succeed())
	return b
}

func setUpAlready() types.GomegaMatcher {
	return MatchRegexp(`^warm start: snapshot [0-9a-f]{8}, set up already, made \d+s ago$`)
}

func setUpAnew() types.GomegaMatcher {
	return MatchRegexp(`^warm start: snapshot [0-9a-f]{8}, made \d+s ago; set up in .+$`)
}

func TestWhatWasSetUpIsThereAtTheNextStart(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	s := &setting{do: func(b *bench) error {
		g.Expect(run(t, b.node("alice"), "echo", "works")).To(Equal("works\n"), "every node is ready")
		return b.Snapshot(within(t))
	}}
	refused := s.bench(t, dirs, host, two)
	g.Expect(refused.Start(within(t))).To(MatchError(ContainSubstring(`set up lab "two": snapshot of lab `+refused.ID()+`: the lab is not up`)), "it is for machines alone")
	g.Expect(refused.Close()).To(Succeed())

	s = &setting{do: func(b *bench) error {
		g.Expect(run(t, b.node("alice"), "echo", "works")).To(Equal("works\n"))
		return nil
	}}
	first := s.bench(t, dirs, host, two)
	first.up()
	g.Expect(first.Beginning()).To(setUpAnew(), "from what the failed one has left")
	g.Expect(first.told()).To(ContainElement(MatchRegexp(`^: snapshot [0-9a-f]{8}, \d+ MB, in .+: the next start is set up already$`)))
	g.Expect(host.flattened).To(ConsistOf("alice.qcow2 disk.qcow2", "bob.qcow2 disk.qcow2"))
	for _, node := range first.Nodes() {
		g.Expect(status(node)()).To(Equal("ready"))
		g.Expect(run(t, node, "echo", "works")).To(Equal("works\n"))
	}
	infos := snapshotsIn(t, dirs)
	g.Expect(infos).To(HaveLen(2))
	for _, info := range infos { // the bare one has all its files, and the other needs none of them
		g.Expect(info.Damaged).To(BeEmpty())
		g.Expect(filepath.Join(info.Path, "alice.iso")).To(BeARegularFile())
	}
	g.Expect(first.Close()).To(Succeed())

	second := s.bench(t, dirs, host, two)
	second.up()
	g.Expect(second.Beginning()).To(setUpAlready())
	g.Expect(s.done.Load()).To(BeNumerically("==", 1))
	for i, node := range second.Nodes() {
		g.Expect(stagesOf(node)).To(Equal([]string{"restore", "login", "wake"}))
		g.Expect(node.uuid).To(Equal(first.Nodes()[i].uuid))
		g.Expect(status(node)()).To(Equal("ready"))
	}
	g.Expect(second.Snapshot(within(t))).To(Succeed())
	g.Expect(second.Revert(within(t))).To(Succeed())
	beside := s.bench(t, dirs, host, two)
	beside.up()
	g.Expect(beside.Beginning()).To(setUpAlready())
	bare := warmBench(t, dirs, host, two, nil)
	bare.up()
	g.Expect(bare.Beginning()).To(warm())
}

func TestALabIsSetUpAnewWhenItsSetUpHasChanged(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	dir := t.TempDir()
	deb, tool := filepath.Join(dir, "a.deb"), filepath.Join(dir, "tool")
	write := func(path, text string) { g.Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed()) }
	write(deb, "one")
	write(tool, "#!/bin/sh\n")
	text := strings.Replace(one, "memory_mb: 128",
		fmt.Sprintf(`memory_mb: 128, ports: ["127.0.0.1:0:22"], deploy: [{src: %s, dest: %s}]`, tool, filepath.Join(dir, "there")), 1)
	s := &setting{files: []string{deb}}
	s.leave(t, dirs, host, text)
	starts := func(want types.GomegaMatcher, why string) {
		t.Helper()
		g.Expect(s.leave(t, dirs, host, text).Beginning()).To(want, why)
	}
	g.Expect(os.Remove(filepath.Join(dir, "there"))).To(Succeed())
	starts(setUpAlready(), "nothing has changed")
	g.Expect(filepath.Join(dir, "there")).NotTo(BeAnExistingFile(), "it is in the snapshot")
	write(deb, "two")
	starts(setUpAnew(), "another build")
	g.Expect(filepath.Join(dir, "there")).To(BeAnExistingFile())
	write(deb, "one")
	starts(setUpAlready(), "the old build again")
	write(tool, "#!/bin/bash\n")
	starts(setUpAnew(), "another file is deployed")
	s.key = "strict"
	starts(setUpAnew(), "another option")
	s.files = append(s.files, filepath.Join(dir, "missing"))
	b := s.bench(t, dirs, host, text)
	g.Expect(b.Start(within(t))).To(MatchError(And(HavePrefix(`start lab "one": what its set-up depends on: `), ContainSubstring("missing: no such file"))))
}

func TestASetUpThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	wrong := errors.New("dpkg exited with 1")
	s := &setting{do: func(*bench) error { return wrong }}
	b := s.bench(t, dirs, host, one)
	err := b.Start(within(t))
	g.Expect(err).To(MatchError(`set up lab "one": dpkg exited with 1`))
	var setUp *SetUpError
	g.Expect(errors.As(err, &setUp)).To(BeTrue())
	g.Expect(run(t, b.node("alice"), "echo", "works")).To(Equal("works\n"), "it is there for evidence")
	g.Expect(b.Close()).To(Succeed())
	g.Expect(snapshotsIn(t, dirs)).To(HaveLen(1), "of the bare machine")
	s.do = nil
	g.Expect(s.leave(t, dirs, host, one).Beginning()).To(setUpAnew())
	g.Expect(s.leave(t, dirs, host, one).Beginning()).To(setUpAlready())
}

func TestASetUpThatChangesTheNetworkIsRefused(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := &setting{do: func(b *bench) error {
		link := b.link("alice", "lan")
		g.Expect(link.Down(nil)).To(Succeed())
		g.Expect(link.Up(nil)).To(Succeed(), "what is put back is no change")
		return b.Impair([]*Link{link}, Impairment{Delay: 30 * time.Millisecond}, nil)
	}}
	b := s.bench(t, testDirs(t), newFakeHost(t), "networks: [{name: lan, subnet: 10.81.0.0/24}]\nnodes: [{name: alice, memory_mb: 128, networks: [lan]}]\n")
	g.Expect(b.Start(within(t))).To(MatchError(And(ContainSubstring("it leaves link alice@lan up: true, delay 30ms"),
		HaveSuffix("a snapshot has the machines only; do that after Start, or in the topology"))))
}

func TestADamagedSnapshotOfASetUpLabCostsNoColdStart(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	s := &setting{}
	s.leave(t, dirs, host, one)
	bare := warmBench(t, dirs, host, one, nil)
	bare.up() // its snapshot is in use, which tells the two apart
	for _, info := range snapshotsIn(t, dirs) {
		if !info.InUse {
			path := filepath.Join(info.Path, "alice.qcow2")
			g.Expect(os.Chmod(path, 0o600)).To(Succeed())
			g.Expect(os.WriteFile(path, []byte("x"), 0o600)).To(Succeed())
		}
	}
	b := s.bench(t, dirs, host, one)
	b.up()
	g.Expect(b.Beginning()).To(setUpAnew())
	g.Expect(b.told()).To(ContainElement(And(HavePrefix(": cold start snapshot "), ContainSubstring("is damaged: alice.qcow2 has 1 bytes instead of 0"))))
	g.Expect(stagesOf(b.node("alice"))).NotTo(ContainElement("kernel"))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(s.leave(t, dirs, host, one).Beginning()).To(setUpAlready())
	g.Expect(s.done.Load()).To(BeNumerically("==", 2))
}

func TestALabThatCannotBeSavedIsSetUpOnceMore(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	leaveSnapshot(t, dirs, host, two)
	host.failSave = errors.New("no space left on device")
	s := &setting{}
	b := s.bench(t, dirs, host, two)
	b.up()
	g.Expect(s.done.Load()).To(BeNumerically("==", 2), "the machines that could not be saved are gone")
	g.Expect(b.told()).To(ContainElement(And(HavePrefix(": cold start no snapshot could be made of what was set up: node "), HaveSuffix("no space left on device"))))
	for _, node := range b.Nodes() {
		g.Expect(stagesOf(node)).NotTo(ContainElement("kernel"), "the bare snapshot is not to blame")
		g.Expect(run(t, node, "echo", "works")).To(Equal("works\n"))
	}
	g.Expect(b.Close()).To(Succeed())
	host.failSave = nil
	again := s.leave(t, dirs, host, two)
	g.Expect(again.Beginning()).To(setUpAnew())
	g.Expect(again.told()).NotTo(ContainElement(": making a snapshot"), "it is not tried again at each start")
}

func TestALabOfWhichANodeIsOffIsNotKept(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	s := &setting{do: func(b *bench) error { return b.node("bob").PowerOff(within(t)) }}
	b := s.leave(t, dirs, host, two)
	g.Expect(b.told()).To(ContainElement(HavePrefix(`: no snapshot every node has to run: node "bob": `)))
	g.Expect(s.leave(t, dirs, host, two).Beginning()).To(setUpAnew())
}

func TestTwoOwnersSetUpOneLab(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := &setting{do: func(*bench) error {
		close(begun)
		<-goOn
		return nil
	}}
	first, second := s.bench(t, dirs, host, one), s.bench(t, dirs, host, one)
	done := make(chan error, 2)
	go func() { done <- first.Start(within(t)) }()
	g.Eventually(begun).WithTimeout(patience).Should(BeClosed())
	go func() { done <- second.Start(within(t)) }()
	g.Eventually(second.told).WithTimeout(patience).Should(ContainElement(MatchRegexp(
		`^: waiting for a snapshot process \d+ sets up lab [0-9a-f]{6} of topology "one", to make a snapshot of that$`)))
	close(goOn)
	for range 2 {
		g.Eventually(done).WithTimeout(patience).Should(Receive(BeNil()))
	}
	g.Expect(second.Beginning()).To(setUpAlready())
}

func TestCloseEndsASetUp(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	var b *bench
	begun := make(chan struct{})
	b = warmBench(t, dirs, host, one, func(c *Config) {
		c.SetUp = &SetUp{Do: func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return context.Cause(ctx)
		}}
	})
	done := make(chan error, 1)
	go func() { done <- b.Start(within(t)) }()
	g.Eventually(begun).WithTimeout(patience).Should(BeClosed())
	g.Expect(b.Close()).To(Succeed())
	g.Eventually(done).WithTimeout(patience).Should(Receive(MatchError(ErrClosed)))
	g.Expect(os.ReadDir(filepath.Join(dirs.Cache, "snapshots", "tmp"))).To(HaveLen(1), "but for the lock")
}

func TestRoutersRememberWhatTheSetUpHasOpened(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	inside := netip.MustParseAddrPort("10.81.0.2:4000")
	s := &setting{do: func(b *bench) error {
		inner, err := b.router("edge").wired()
		g.Expect(err).NotTo(HaveOccurred())
		state, err := b.NetState()
		g.Expect(err).NotTo(HaveOccurred())
		_, outside, _ := strings.Cut(state.Routers[0].Outside, " ")
		open := nat.Mapping{
			Protocol: nat.UDP, Inside: inside, Outside: netip.AddrPortFrom(netip.MustParseAddr(outside), 4000), Expires: time.Now().Add(time.Hour),
		}
		g.Expect(inner.RestoreMappings([]nat.Mapping{open}, time.Now())).To(Equal(1))
		return nil
	}}
	const text = "networks: [{name: lan, subnet: 10.81.0.0/24}, {name: wan, subnet: 10.82.0.0/24}]\n" +
		"routers: [{name: edge, inside: lan, outside: wan, nat: full-cone}]\n" +
		"nodes: [{name: alice, memory_mb: 128, networks: [lan]}]\n"
	s.leave(t, dirs, host, text)
	b := s.bench(t, dirs, host, text)
	b.up()
	g.Expect(b.Beginning()).To(setUpAlready())
	g.Expect(b.router("edge").Mappings()).To(ConsistOf(HaveField("Inside", inside)))

	other := s.bench(t, dirs, host, strings.Replace(text, "full-cone", "symmetric", 1))
	s.do = nil
	other.up()
	g.Expect(other.Beginning()).To(setUpAnew(), "behind another NAT the machines might have found out other things")
}
