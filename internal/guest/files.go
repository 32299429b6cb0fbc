package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// FileError says that a file could not be moved. Err is a syscall.Errno where the guest named one, so that
// errors.Is(err, fs.ErrNotExist), fs.ErrPermission and syscall.ENOSPC work.
type FileError struct {
	// Op is "write", "read", "upload", "download" or "put".
	Op string
	// Node and Path name the place in the guest.
	Node, Path string
	// Detail is what the guest said.
	Detail string
	// Remedy is what to do about it, "" if that is not known.
	Remedy string
	// Err is the cause.
	Err error
}

// Error names the operation, the node, the path, the cause and, where it is known, the remedy.
func (e *FileError) Error() string {
	text := fmt.Sprintf("%s %s on node %q: %v", e.Op, e.Path, e.Node, e.Err)
	if e.Detail != "" && !strings.Contains(text, e.Detail) {
		text += " (" + e.Detail + ")"
	}
	if e.Remedy != "" {
		text += ": " + e.Remedy
	}
	return text
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// errnoTexts are the C library's texts for what commonly goes wrong with files; the scripts run with LC_ALL=C.
func errnoTexts() []syscall.Errno {
	return []syscall.Errno{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EISDIR, syscall.ENOTDIR,
		syscall.ENOTEMPTY, syscall.EFBIG, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.ETXTBSY, syscall.EIO, syscall.ENOENT,
	}
}

// causeOf finds the errno in what a tool said.
func causeOf(said string) error {
	lower := strings.ToLower(said)
	if strings.Contains(lower, "cannot create directory") && strings.Contains(lower, syscall.EEXIST.Error()) {
		return syscall.ENOTDIR // A file stands where a folder above the target would have to be.
	}
	for _, errno := range errnoTexts() {
		if strings.Contains(lower, errno.Error()) {
			return errno
		}
	}
	if said == "" {
		return errors.New("the guest said nothing")
	}
	return errors.New(said)
}

// fileError makes the error of a file operation.
func (c *Client) fileError(op, where string, err error) error {
	if err == nil {
		return nil
	}
	var known *FileError
	if errors.As(err, &known) {
		return err
	}
	return &FileError{Op: op, Node: c.cfg.Name, Path: where, Err: err}
}

// checkPath refuses paths that mean nothing in the guest.
func checkPath(p string) error {
	if p == "" {
		return errors.New("the path in the guest is empty")
	}
	return refuseNUL("the path", p)
}

// trimSlashes takes slashes at the end of a path away: they mean nothing here.
func trimSlashes(p string) string {
	if trimmed := strings.TrimRight(p, "/"); trimmed != "" {
		return trimmed
	}
	return p
}

// guestCmd is a file operation's script as a command; it runs as root where Sudo allows that.
func (c *Client) guestCmd(script string, args ...string) Cmd {
	cmd := Cmd{Argv: append([]string{"/bin/sh", "-c", script, "ionlab"}, args...)}
	if c.cfg.Sudo && c.cfg.User != "root" {
		cmd.User = "root"
	}
	cmd.Env = map[string]string{"LC_ALL": "C"}
	return cmd
}

// operate frames a file operation: it checks the machine, bounds the context and reports the event.
func (c *Client) operate(ctx context.Context, kind, detail, where string, do func(context.Context) error) error {
	began := time.Now()
	err := func() error {
		ctx, end, err := c.begin(ctx)
		if err != nil {
			return err
		}
		defer end()
		return do(ctx)
	}()
	err = c.fileError(kind, where, err)
	c.observe(Event{Kind: kind, Detail: shorten(detail, 400), Start: began, ExitCode: -1, Err: err})
	return err
}

// WriteFile writes data to a file in the guest, making missing folders. The file appears under its name complete or not
// at all, with the given mode, owned by root (or by the user ionlab logs in as, without Sudo), its content verified. A
// symlink is followed; files under /proc and /sys and devices are written directly.
func (c *Client) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	return c.operate(ctx, "write", fmt.Sprintf("%s (%d bytes)", name, len(data)), name, func(ctx context.Context) error {
		return c.send(ctx, upload{
			op: "write", dst: name, mode: mode, size: int64(len(data)),
			content: bytes.NewReader(data),
		})
	})
}

// ReadFile returns the content of a file in the guest. A missing file is an error that wraps fs.ErrNotExist.
func (c *Client) ReadFile(ctx context.Context, name string) ([]byte, error) {
	var data []byte
	err := c.operate(ctx, "read", name, name, func(ctx context.Context) error {
		if err := checkPath(name); err != nil {
			return err
		}
		var out bytes.Buffer
		cmd := c.guestCmd(`case $1 in -*) set -- "./$1" ;; esac; exec cat -- "$1"`, name)
		cmd.Stdout, cmd.dropStdout = &out, true
		res, err := c.runWith(ctx, cmd, nil)
		if err != nil {
			return err
		}
		data = out.Bytes()
		return c.scriptError("read", name, res)
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// scriptError turns the failure of a script into an error.
func (c *Client) scriptError(op, where string, res *Result) error {
	if res.code == 0 {
		return nil
	}
	said := strings.TrimSpace(res.Stderr())
	if said == "" {
		said = fmt.Sprintf("exit code %d %s", res.code, res.signal)
	}
	said = shorten(said, 1000)
	err := causeOf(said)
	return &FileError{Op: op, Node: c.cfg.Name, Path: where, Detail: said, Remedy: c.remedy(err), Err: err}
}

// remedy is what to do about an error in the guest.
func (c *Client) remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "give the node a larger disk_gb"
	case errors.Is(err, syscall.EROFS):
		return "choose a writable place"
	case errors.Is(err, fs.ErrPermission) && c.cfg.User != "root" && !c.cfg.Sudo:
		return fmt.Sprintf("ionlab is user %s there and must not use sudo", c.cfg.User)
	}
	return ""
}
