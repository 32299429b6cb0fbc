package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Host is how the checks see the machine. A nil function is the real one; tests give their own.
type Host struct {
	// User returns the current user: numeric id and name.
	User func() (uid int, name string)
	// LookPath finds a program, also in the sbin folders, which Debian leaves out of a user's PATH.
	LookPath func(program string) (string, error)
	// Output runs a program and returns what it wrote to both outputs.
	Output func(ctx context.Context, argv ...string) (string, error)
	// ReadFile returns a file's content.
	ReadFile func(path string) ([]byte, error)
	// Glob lists files by pattern.
	Glob func(pattern string) ([]string, error)
	// OpenDevice opens a file for reading and writing and closes it again.
	OpenDevice func(path string) error
	// KnowsUser looks a user up by name.
	KnowsUser func(name string) error
	// Free makes sure that dir, or what will be its parent, can be written to, and returns the free bytes there.
	Free func(dir string) (uint64, error)
	// Reach asks a URL for any answer at all, through the proxy that the environment names.
	Reach func(ctx context.Context, address string) error
}

// withDefaults fills in the real functions.
func (h Host) withDefaults() Host {
	if h.User == nil {
		h.User = currentUser
	}
	if h.LookPath == nil {
		h.LookPath = lookPath
	}
	if h.Output == nil {
		h.Output = output
	}
	if h.ReadFile == nil {
		h.ReadFile = os.ReadFile
	}
	if h.Glob == nil {
		h.Glob = filepath.Glob
	}
	if h.OpenDevice == nil {
		h.OpenDevice = openDevice
	}
	if h.KnowsUser == nil {
		h.KnowsUser = knowsUser
	}
	if h.Free == nil {
		h.Free = free
	}
	if h.Reach == nil {
		h.Reach = reach
	}
	return h
}

func (h Host) root() bool {
	uid, _ := h.User()
	return uid == 0
}

func currentUser() (int, string) {
	uid := os.Geteuid()
	known, err := user.LookupId(fmt.Sprint(uid))
	if err != nil {
		return uid, fmt.Sprint(uid)
	}
	return uid, known.Username
}

func knowsUser(name string) error {
	_, err := user.Lookup(name)
	return err
}

func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, inSbin := exec.LookPath(filepath.Join(dir, program)); inSbin == nil {
			return path, nil
		}
	}
	return "", err
}

func output(ctx context.Context, argv ...string) (string, error) {
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A grandchild that keeps the pipe open must not hold up the check.
	command.WaitDelay = time.Second
	text, err := command.CombinedOutput()
	return strings.TrimSpace(string(text)), err
}

func openDevice(path string) error {
	device, err := os.OpenFile(path, os.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return device.Close()
}

func free(dir string) (uint64, error) {
	there, err := nearest(dir)
	if err != nil {
		return 0, err
	}
	trial, err := os.CreateTemp(there, ".labtest-doctor-*")
	if err != nil {
		return 0, err
	}
	if err := errors.Join(trial.Close(), os.Remove(trial.Name())); err != nil {
		return 0, err
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(there, &stat); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: there, Err: err}
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}

// nearest returns dir or, while it does not exist, the nearest parent that does: the folder that dir will be made in.
func nearest(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		parent := filepath.Dir(dir)
		switch {
		case err == nil && !info.IsDir():
			return "", &os.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		case err == nil:
			return dir, nil
		case !errors.Is(err, os.ErrNotExist) || parent == dir:
			return "", err
		}
		dir = parent
	}
}

func reach(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, http.NoBody)
	if err != nil {
		return err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{}).DialContext}
	defer transport.CloseIdleConnections()
	// Any status is an answer, a redirect too.
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		var cause *url.Error
		if errors.As(err, &cause) {
			return cause.Err
		}
		return err
	}
	return response.Body.Close()
}
