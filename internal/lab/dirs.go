package lab

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dirs are the folders ionlab uses on the host.
type Dirs struct {
	Run   string // sockets, locks and keys of running labs; short, because socket paths end at 107 bytes
	State string // disks and consoles of running labs
	Cache string // images, snapshots and verdicts that outlive labs
}

// DefaultDirs returns the folders of the current user: below /run, /var/lib and /var/cache for root, below the XDG
// folders otherwise. LABTEST_RUN_DIR, LABTEST_STATE_DIR and LABTEST_CACHE_DIR override them.
func DefaultDirs() (Dirs, error) {
	dirs := Dirs{Run: "/run/labtest", State: "/var/lib/labtest", Cache: "/var/cache/labtest"}
	if os.Geteuid() != 0 {
		var err error
		if dirs, err = userDirs(); err != nil {
			return Dirs{}, err
		}
	}
	for name, dir := range map[string]*string{
		"LABTEST_RUN_DIR": &dirs.Run, "LABTEST_STATE_DIR": &dirs.State, "LABTEST_CACHE_DIR": &dirs.Cache,
	} {
		value := os.Getenv(name)
		if value == "" {
			continue
		}
		if !filepath.IsAbs(value) {
			return Dirs{}, fmt.Errorf("%s=%q: give an absolute path", name, value)
		}
		*dir = filepath.Clean(value)
	}
	return dirs, nil
}

func userDirs() (Dirs, error) {
	home, err := os.UserHomeDir()
	if err != nil && (os.Getenv("LABTEST_STATE_DIR") == "" || os.Getenv("LABTEST_CACHE_DIR") == "") {
		return Dirs{}, fmt.Errorf("find the home folder: %w (set HOME, or LABTEST_STATE_DIR and LABTEST_CACHE_DIR)", err)
	}
	xdg := func(name, fallback string) string {
		if value := os.Getenv(name); filepath.IsAbs(value) {
			return filepath.Join(value, "labtest")
		}
		return filepath.Join(fallback, "labtest")
	}
	run := "/tmp/labtest-" + strconv.Itoa(os.Getuid())
	if value := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(value) && unix.Access(value, unix.W_OK) == nil {
		run = filepath.Join(value, "labtest")
	}
	return Dirs{
		Run:   run,
		State: xdg("XDG_STATE_HOME", filepath.Join(home, ".local", "state")),
		Cache: xdg("XDG_CACHE_HOME", filepath.Join(home, ".cache")),
	}, nil
}

// make creates the folders. The run folder of a user is private; root's are open to search, because QEMU runs as
// another user and has to reach what lies below.
func (d Dirs) create() error {
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	for _, dir := range []string{d.Run, d.State, d.Cache} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make folder %s: %w (LABTEST_RUN_DIR, LABTEST_STATE_DIR and LABTEST_CACHE_DIR choose others)", dir, err)
		}
	}
	info, err := os.Lstat(d.Run)
	if err != nil {
		return fmt.Errorf("look at %s: %w", d.Run, err)
	}
	if !info.IsDir() || !ownedByUs(info) {
		return fmt.Errorf("%s belongs to somebody else: remove it, or set LABTEST_RUN_DIR", d.Run)
	}
	return nil
}

// Account is the unprivileged user that runs QEMU when we are root.
type Account struct {
	Name, Group string
	UID, GID    int
}

// QEMUAccount finds the user that the distribution made for QEMU. It returns nil for an ordinary user, who runs QEMU
// as itself.
func QEMUAccount() (*Account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no account is the answer for an ordinary user.
	}
	for _, name := range []string{"libvirt-qemu", "qemu"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		account := &Account{Name: name}
		account.UID, _ = strconv.Atoi(u.Uid)
		gid := u.Gid
		if g, err := user.LookupGroup("kvm"); err == nil {
			gid, account.Group = g.Gid, "kvm"
		}
		account.GID, _ = strconv.Atoi(gid)
		return account, nil
	}
	return nil, errors.New("find a user to run QEMU as: there is neither libvirt-qemu nor qemu; " +
		"`make setup` makes one, or run as an ordinary user")
}
