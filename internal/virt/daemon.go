package virt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ionlab/internal/poll"
)

// Account is the unprivileged user that runs libvirt and QEMU when the owner of the lab is root.
type Account struct {
	Name, Group string
	UID, GID    int
}

// daemon is a session libvirtd of our own, in a PID namespace of its own, under an init that reaps at once.
// When its owner dies the kernel kills the namespace's init, and with it libvirtd and every QEMU.
type daemon struct {
	dir    string
	proc   *process
	socket string
}

// The daemon's configuration. QEMU writes its console log itself (no virtlogd); nothing of libvirt needs root,
// cgroups or a mount namespace; the socket's folder is what keeps others out.
const (
	qemuConf = `stdio_handler = "file"
security_driver = "none"
cgroup_controllers = []
namespaces = []
max_core = 0
`
	libvirtdConf = `auth_unix_rw = "none"
`
)

func startDaemon(ctx context.Context, cfg Config) (*daemon, error) {
	d := &daemon{dir: cfg.Dir, socket: Socket(cfg.Dir)}
	if err := d.layout(cfg); err != nil {
		return nil, err
	}
	argv, err := confine(ctx, cfg.Account)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // the daemon outlives the ctx that bounds its start; argv is ours.
	cmd.Env = d.environ()
	cmd.Dir = "/"
	if d.proc, err = spawn(cmd); err != nil {
		return nil, fmt.Errorf("start private libvirtd: %w", err)
	}
	if err := d.await(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Socket is the path of the libvirt socket of the private daemon that runs in dir.
func Socket(dir string) string { return filepath.Join(dir, "libvirt", "libvirt-sock") }

// layout makes the folders that libvirt wants and its configuration.
func (d *daemon) layout(cfg Config) error {
	files := map[string]string{"c/libvirt/qemu.conf": qemuConf, "c/libvirt/libvirtd.conf": libvirtdConf}
	for name, text := range files {
		path := filepath.Join(d.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("make folder for libvirtd: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write libvirtd's configuration: %w", err)
		}
	}
	for _, name := range []string{"k", "d"} {
		if err := os.MkdirAll(filepath.Join(d.dir, name), 0o700); err != nil {
			return fmt.Errorf("make folder for libvirtd: %w", err)
		}
	}
	if cfg.Capabilities != "" {
		if err := d.shareCapabilities(cfg.Capabilities, cfg.Account); err != nil {
			return err
		}
	}
	owner := cfg.Account
	if owner == nil {
		return nil
	}
	return filepath.WalkDir(d.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, owner.UID, owner.GID)
	})
}

// shareCapabilities leads the daemon to a folder that others use too. libvirt checks what it finds there against QEMU's
// file, its own version, the processor and /dev/kvm, and replaces files by renaming. Source: src/util/virfilecache.c.
func (d *daemon) shareCapabilities(dir string, owner *Account) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of QEMU's capabilities: %w", err)
	}
	if owner != nil {
		if err := os.Chown(dir, owner.UID, owner.GID); err != nil {
			return fmt.Errorf("give the folder of QEMU's capabilities to %s: %w", owner.Name, err)
		}
	}
	link := filepath.Join(d.dir, "k", "libvirt", "qemu", "cache", "capabilities")
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		return fmt.Errorf("make folder for libvirtd: %w", err)
	}
	if err := os.Symlink(dir, link); err != nil {
		return fmt.Errorf("share QEMU's capabilities: %w", err)
	}
	return nil
}

// environ keeps the daemon away from the user's own libvirt and away from every bus and display.
func (d *daemon) environ() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
		"HOME=" + d.dir, "XDG_RUNTIME_DIR=" + d.dir, "XDG_CONFIG_HOME=" + filepath.Join(d.dir, "c"),
		"XDG_CACHE_HOME=" + filepath.Join(d.dir, "k"), "XDG_DATA_HOME=" + filepath.Join(d.dir, "d"),
	}
}

// await waits until libvirtd listens, or says why it does not.
func (d *daemon) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var dialer net.Dialer
	err := poll.Until(ctx, 5*time.Millisecond, func(ctx context.Context) error {
		select {
		case <-d.proc.done:
			return poll.Stop(fmt.Errorf("it ended: %v", d.proc.err)) //nolint:errorlint // an exit status, in words.
		default:
		}
		conn, err := dialer.DialContext(ctx, "unix", d.socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return fmt.Errorf("start private libvirtd in %s: %w; it printed:\n%s", d.dir, err, d.proc.output)
	}
	return nil
}

// Close kills the daemon and everything in its PID namespace, and returns when the kernel has reaped them all.
// The init of the namespace is killed rather than the process that made it: the kernel lets an init end only after
// the last process of its namespace, so the end of unshare proves that none is left. Without a namespace (see confine)
// the lab ends what is left by its run folder.
func (d *daemon) Close() error {
	if d == nil || d.proc == nil {
		return nil
	}
	if d.proc.ended() {
		return nil // and its process id may be another's by now
	}
	victim := d.proc.cmd.Process.Pid
	if child := onlyChild(victim); child != 0 && filepath.Base(d.proc.cmd.Path) == "unshare" {
		victim = child
	}
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill private libvirtd: %w", err)
	}
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-d.proc.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("private libvirtd (pid %d) is still there 10 s after SIGKILL", victim)
	}
}

func onlyChild(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return child
}
