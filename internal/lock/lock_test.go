package lock_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ionlab/internal/lock"
)

// holderVar makes this test binary a process that holds the lock at the path that it has.
const holderVar = "LOCK_TEST_HOLDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(holderVar); path != "" {
		os.Exit(hold(path, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

// hold takes the lock, says so, and ends with its standard input.
func hold(path string, out io.Writer) int {
	held, err := lock.Try(path, lock.Exclusive)
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	held.Sign("paints the door")
	fmt.Fprintln(out, "holds")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// holder starts another process that holds the lock.
func holder(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	g := NewWithT(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holderVar+"="+path)
	_, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	g.Expect(bufio.NewReader(out).ReadString('\n')).To(Equal("holds\n"))
	return cmd
}

func TestAKilledHolderIsWaitedForAndNamed(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	other := holder(t, path)
	_, err := lock.Try(path, lock.Shared)
	g.Expect(err).To(MatchError(lock.ErrBusy))
	var told []string
	held, err := lock.Wait(t.Context(), path, lock.Exclusive, func(who string) {
		told = append(told, who)
		g.Expect(other.Process.Kill()).To(Succeed())
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(told).To(HaveExactElements(fmt.Sprintf("process %d paints the door", other.Process.Pid)))
	g.Expect(held.Close()).To(Succeed())
	g.Expect(held.Close()).To(Succeed(), "again")
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	held, err := lock.Try(path, lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	_, err = lock.Wait(ctx, path, lock.Shared, nil)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(And(HavePrefix("wait for lock "+path+": gave up after "), HaveSuffix("in use: another process holds it"))))
	g.Expect(held.Close()).To(Succeed())
}

func TestSharedLocksKeepAnExclusiveOneOut(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock.Try(path, lock.Shared)
	g.Expect(err).NotTo(HaveOccurred())
	second, err := lock.Try(path, lock.Shared)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = lock.Try(path, lock.Exclusive)
	g.Expect(err).To(MatchError(lock.ErrBusy))
	g.Expect(first.Close()).To(Succeed())
	g.Expect(second.Close()).To(Succeed())
	exclusive, err := lock.Try(path, lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(exclusive.Close()).To(Succeed())
	g.Expect((*lock.Lock)(nil).Close()).To(Succeed())
	g.Expect((*lock.Lock)(nil).Remove()).To(Succeed())
}

func TestALockOnARemovedFileIsNone(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock.Try(path, lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	got := make(chan *lock.Lock)
	go func() {
		held, _ := lock.Wait(t.Context(), path, lock.Exclusive, nil)
		got <- held
	}()
	g.Consistently(got, "60ms").ShouldNot(Receive())
	g.Expect(first.Remove()).To(Succeed())
	second := <-got
	g.Expect(second).NotTo(BeNil())
	g.Expect(path).To(BeARegularFile(), "the one that it holds")
	_, err = lock.Try(path, lock.Exclusive)
	g.Expect(err).To(MatchError(lock.ErrBusy))
	g.Expect(second.Close()).To(Succeed())
}

func TestALookMakesNoFile(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	_, err := lock.TryExisting(path, lock.Shared)
	g.Expect(err).To(MatchError(os.ErrNotExist))
	_, err = lock.WaitExisting(t.Context(), path, lock.Shared)
	g.Expect(err).To(MatchError(os.ErrNotExist))
	g.Expect(path).NotTo(BeAnExistingFile())
}

func TestAFileIsAsReadableAsItsFolder(t *testing.T) {
	g := NewWithT(t)
	for folder, want := range map[os.FileMode]os.FileMode{0o755: 0o644, 0o711: 0o600, 0o700: 0o600} {
		dir := filepath.Join(t.TempDir(), "locks")
		g.Expect(os.Mkdir(dir, folder)).To(Succeed())
		held, err := lock.Try(filepath.Join(dir, "lock"), lock.Exclusive)
		g.Expect(err).NotTo(HaveOccurred())
		info, err := os.Stat(filepath.Join(dir, "lock"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Mode().Perm()).To(Equal(want), "in a folder with mode %o", folder)
		g.Expect(held.Close()).To(Succeed())
	}
}

func TestSweepLeavesWhatIsHeld(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	free, taken := filepath.Join(dir, "free"), filepath.Join(dir, "taken")
	g.Expect(os.WriteFile(free, nil, 0o600)).To(Succeed())
	held, err := lock.Try(taken, lock.Shared)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(lock.Sweep([]string{free, taken, filepath.Join(dir, "gone")})).To(Succeed())
	g.Expect(free).NotTo(BeAnExistingFile())
	g.Expect(taken).To(BeARegularFile())
	g.Expect(held.Close()).To(Succeed())
}

// Between fork and exec a child has all descriptors of its parent.
func TestCloseReleasesWhatAChildToBeStillShares(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "lock")
	held, err := lock.Try(path, lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	shared := sharedDescriptor(t, path)
	t.Cleanup(func() { _ = unix.Close(shared) })
	g.Expect(held.Close()).To(Succeed())
	again, err := lock.Try(path, lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.Close()).To(Succeed())
}

// sharedDescriptor is another descriptor of this process's open file at path.
func sharedDescriptor(t *testing.T, path string) int {
	t.Helper()
	g := NewWithT(t)
	all, err := filepath.Glob("/proc/self/fd/*")
	g.Expect(err).NotTo(HaveOccurred())
	for _, link := range all {
		if target, err := os.Readlink(link); err == nil && target == path {
			number, err := strconv.Atoi(filepath.Base(link))
			g.Expect(err).NotTo(HaveOccurred())
			shared, err := unix.Dup(number)
			g.Expect(err).NotTo(HaveOccurred())
			return shared
		}
	}
	t.Fatal("this process has not opened " + path)
	return -1
}
