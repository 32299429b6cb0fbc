package virt

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/poll"
)

// tools puts programs of the test's into PATH, before all others or instead of them. Each prints its name and arguments.
func tools(t testing.TB, path string, texts map[string]string) string {
	t.Helper()
	bin := t.TempDir()
	for name, text := range texts {
		program(t, bin, name, text)
	}
	t.Setenv("PATH", bin+path)
	return bin
}

// namespaces are tools on a host that lets us make PID namespaces; run is what becomes of libvirtd there.
func namespaces(run string) map[string]string {
	return map[string]string{
		"unshare": `for last; do :; done; [ "$last" = true ] && exit 0; ` + run,
		"setpriv": "exit 1", "tini": "exit 1", "libvirtd": "exit 1",
	}
}

func TestConfineMakesANamespace(t *testing.T) {
	bin := tools(t, ":/nonexistent", namespaces("exit 1"))
	libvirtd := filepath.Join(bin, "libvirtd")
	for name, test := range map[string]struct {
		owner *Account
		want  string
	}{
		"a user": {nil, "unshare -p -f --kill-child=SIGKILL --mount-proc -U --map-current-user tini -- " + libvirtd},
		"root": {
			&Account{Name: "libvirt-qemu", UID: 64055, GID: 108},
			"unshare -p -f --kill-child=SIGKILL --mount-proc " +
				"setpriv --reuid=64055 --regid=108 --init-groups --no-new-privs --pdeathsig KILL tini -- " + libvirtd,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			argv, err := confine(context.Background(), test.owner)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(strings.Join(argv, " ")).To(Equal(test.want))
		})
	}
}

func TestConfineWithoutNamespaces(t *testing.T) {
	forbidden := namespaces("exit 1")
	forbidden["unshare"] = "exit 1"
	bin := tools(t, ":/nonexistent", forbidden)
	tail := "tini -s -- setpriv --pdeathsig KILL " + filepath.Join(bin, "libvirtd")
	g := NewWithT(t)
	argv, err := confine(context.Background(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Join(argv, " ")).To(Equal(tail))
	argv, err = confine(context.Background(), &Account{UID: 1, GID: 2})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Join(argv, " ")).To(Equal("setpriv --reuid=1 --regid=2 --init-groups --no-new-privs --pdeathsig KILL " + tail))
}

func TestConfineNamesTheToolThatIsMissing(t *testing.T) {
	for _, missing := range []string{"unshare", "setpriv", "tini"} {
		t.Run(missing, func(t *testing.T) {
			there := namespaces("exit 1")
			delete(there, missing)
			tools(t, "", there)
			_, err := confine(context.Background(), nil)
			NewWithT(t).Expect(err).To(MatchError("find " + missing + `: exec: "` + missing +
				"\": executable file not found in $PATH (`make setup` installs it; package util-linux or tini)"))
		})
	}
}

func TestDaemonsFilesAreItsOwnersAlone(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	d := &daemon{dir: dir}
	g.Expect(d.layout(Config{})).To(Succeed())
	g.Expect(d.layout(Config{Account: &Account{UID: os.Getuid(), GID: os.Getgid()}})).To(Succeed(), "again, and given to ourselves")
	modes := map[string]string{}
	g.Expect(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		name, _ := filepath.Rel(dir, path)
		modes[name] = info.Mode().String()
		return err
	})).To(Succeed())
	g.Expect(modes).To(Equal(map[string]string{
		"c": "drwx------", "c/libvirt": "drwx------", "k": "drwx------", "d": "drwx------",
		"c/libvirt/qemu.conf": "-rw-------", "c/libvirt/libvirtd.conf": "-rw-------",
	}))
	conf, err := os.ReadFile(filepath.Join(dir, "c", "libvirt", "qemu.conf"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(conf)).To(ContainSubstring("stdio_handler = \"file\"\n"), "QEMU itself writes the console's log")
	for _, variable := range d.environ() {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "XDG_") || name == "HOME" {
			g.Expect(value).To(HavePrefix(dir), name)
		}
	}
	g.Expect(d.environ()).NotTo(ContainElement(HavePrefix("DBUS_SESSION_BUS_ADDRESS")))
	g.Expect((&daemon{dir: "/proc/nonexistent"}).layout(Config{})).To(MatchError(HavePrefix("make folder for libvirtd: ")))
}

func TestDaemonsShareWhatLibvirtKnowsOfQEMU(t *testing.T) {
	g := NewWithT(t)
	shared := filepath.Join(t.TempDir(), "cache", "capabilities")
	for range 2 {
		d := &daemon{dir: t.TempDir()}
		me := &Account{Name: "me", UID: os.Getuid(), GID: os.Getgid()}
		g.Expect(d.layout(Config{Capabilities: shared, Account: me})).To(Succeed())
		there := filepath.Join(d.dir, "k", "libvirt", "qemu", "cache", "capabilities")
		g.Expect(os.WriteFile(filepath.Join(there, filepath.Base(d.dir)+".xml"), nil, 0o600)).To(Succeed())
	}
	g.Expect(os.ReadDir(shared)).To(HaveLen(2))
	info, err := os.Stat(shared)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o700)))
	g.Expect((&daemon{dir: t.TempDir()}).layout(Config{Capabilities: "/proc/nonexistent"})).To(MatchError(HavePrefix("make the folder of QEMU's capabilities: ")))
}

func TestDaemonThatEndsFailsTheStartAtOnce(t *testing.T) {
	g := NewWithT(t)
	tools(t, ":"+os.Getenv("PATH"), namespaces(`echo "libvirtd: cannot parse qemu.conf" >&2; exit 3`))
	dir := t.TempDir()
	began := time.Now()
	_, err := startDaemon(context.Background(), Config{Dir: dir})
	g.Expect(err).To(MatchError("start private libvirtd in " + dir + ": it ended: exit status 3; it printed:\nlibvirtd: cannot parse qemu.conf"))
	g.Expect(time.Since(began)).To(BeNumerically("<", patience))
}

func TestDaemonThatNeverListensIsKilled(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	tools(t, ":"+os.Getenv("PATH"), namespaces(`echo $$ >`+dir+`/pid; exec sleep 300`))
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		_ = poll.Until(ctx, time.Millisecond, func(context.Context) error {
			data, err := os.ReadFile(dir + "/pid")
			if err == nil && !strings.HasSuffix(string(data), "\n") {
				return errors.New("it is being written")
			}
			if err == nil {
				cancel(errors.New("^C"))
			}
			return err
		})
	})
	_, err := startDaemon(ctx, Config{Dir: dir})
	g.Expect(err).To(MatchError(And(
		HavePrefix("start private libvirtd in "+dir+": gave up after "), ContainSubstring(": ^C; last cause: dial unix "+Socket(dir)))))
	g.Expect(lives(pidIn(t, dir))).To(BeFalse())
}

func TestDaemonRunsUntilClose(t *testing.T) {
	g := NewWithT(t)
	dir, err := os.MkdirTemp("", "virt") // short: it holds a socket
	g.Expect(err).NotTo(HaveOccurred())
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	tools(t, ":"+os.Getenv("PATH"), namespaces(`echo $$ >`+dir+`/pid; env >`+dir+`/env; export `+helperVar+`=daemon; exec `+self))
	d, err := startDaemon(context.Background(), Config{Dir: dir})
	g.Expect(err).NotTo(HaveOccurred())
	pid := pidIn(t, dir)
	g.Expect(lives(pid)).To(BeTrue())
	env, err := os.ReadFile(dir + "/env")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(env)).To(ContainSubstring("XDG_RUNTIME_DIR=" + dir + "\n"))
	g.Expect(d.Close()).To(Succeed())
	g.Expect(lives(pid)).To(BeFalse())
	g.Expect(syscall.Kill(pid, 0)).To(MatchError(syscall.ESRCH), "it is reaped")
	g.Expect(d.Close()).To(Succeed(), "a second time")
	g.Expect((*daemon)(nil).Close()).To(Succeed())
	g.Expect((&daemon{}).Close()).To(Succeed())
}

func pidIn(t testing.TB, dir string) int {
	t.Helper()
	var pid int
	data, err := os.ReadFile(dir + "/pid")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, b := range []byte(strings.TrimSpace(string(data))) {
		pid = pid*10 + int(b-'0')
	}
	return pid
}
