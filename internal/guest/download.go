package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// packForHost is the guest's side of Download: one word in a line that says what comes, then a tar stream, or the
// plain content of what is neither file nor folder, or has no size that could be trusted (/proc, /sys).
const packForHost = `LC_ALL=C; export LC_ALL
die() { printf '%s\n' "$*" >&2; exit 1; }
src=$1
case $src in -*) src=./$src ;; esac
if [ -L "$src" ]; then src=$(readlink -e -- "$src" && printf /) || die "$1: No such file or directory"; src=${src%?/}; fi
if [ -d "$src" ]; then
  cd -- "$src" || exit 1
  printf 'folder\n'
  exec tar -c -S --format=posix --pax-option=delete=atime,delete=ctime -f - .
fi
[ -e "$src" ] || die "$src: No such file or directory"
[ -r "$src" ] || die "$src: Permission denied"
case $src in /proc/*|/sys/*) plain=1 ;; *) plain=; [ -f "$src" ] || plain=1 ;; esac
if [ -n "$plain" ]; then printf 'plain\n'; exec cat -- "$src"; fi
case $src in */*) cd -- "${src%/*}/" || exit 1 ;; esac
printf 'file\n'
exec tar -c -S --format=posix --pax-option=delete=atime,delete=ctime -f - -- "./${src##*/}"
`

// Download copies a file or a folder from the guest to the host, making missing folders above dst.
//
// A file becomes dst, or dst/NAME if dst is a directory; a folder becomes dst, or is merged into dst if that is a
// directory already. src may be a symlink to what is to be copied; symlinks inside a folder stay symlinks. Permissions
// (without setuid, setgid and sticky bits), modification times, empty files and folders are kept, blocks of zeros
// become holes. Sockets, pipes and devices inside a folder are left out.
//
// Nothing appears under dst before all of it has arrived. What the guest sends is not trusted: an entry that would land
// outside dst fails the download.
func (c *Client) Download(ctx context.Context, src, dst string) error {
	return c.operate(ctx, "download", src+" to "+dst, src, func(ctx context.Context) error {
		return c.fetch(ctx, src, dst)
	})
}

// fetch unpacks into a temporary folder next to the target and renames.
func (c *Client) fetch(ctx context.Context, src, dst string) (err error) {
	if err := checkPath(src); err != nil {
		return err
	}
	if dst == "" {
		return errors.New("the path on the host is empty")
	}
	parent := filepath.Dir(filepath.Clean(dst))
	if info, statErr := os.Stat(dst); statErr == nil && info.IsDir() {
		parent = dst // On the same file system as what is in it, even if dst is a mount point.
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("on the host: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".ionlab-")
	if err != nil {
		return fmt.Errorf("on the host: %w", err)
	}
	defer func() {
		if rmErr := removeTree(tmp); rmErr != nil {
			err = errors.Join(err, rmErr)
		}
	}()
	kind, err := c.unpackFrom(ctx, src, tmp)
	if err != nil {
		return err
	}
	if err := place(kind, filepath.Join(tmp, treeContent), dst, filepath.Base(trimSlashes(src))); err != nil {
		return fmt.Errorf("on the host: %w", err)
	}
	return nil
}

// unpackFrom runs the sending script and unpacks its stream into tmp/content.
func (c *Client) unpackFrom(ctx context.Context, src, tmp string) (kind string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reader, writer := io.Pipe()
	result := make(chan error, 1)
	c.wg.Go(func() {
		var err error
		kind, err = unpackStream(reader, tmp)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			cancel(err) // There is no point in receiving the rest.
		}
		_ = reader.CloseWithError(errStopped)
		result <- err
	})
	cmd := c.guestCmd(packForHost, trimSlashes(src))
	res, err := c.drawn(ctx, cmd, writer)
	_ = writer.Close()
	unpackErr := <-result
	switch {
	case err != nil && unpackErr != nil && errors.Is(err, unpackErr):
		return "", fmt.Errorf("on the host: %w", unpackErr)
	case err != nil:
		return "", err
	case res.code != 0 && !onlyChanged(res):
		return "", c.scriptError("download", src, res)
	}
	return kind, unpackErr
}

// errStopped is what a writer gets whose reader has given up.
var errStopped = errors.New("nobody reads this any more")

// onlyChanged tells whether tar's only complaint is that a file was being written meanwhile (exit code 1, GNU tar
// manual, "Return Value"): a log that grows is no failure.
func onlyChanged(res *Result) bool {
	if res.code != 1 {
		return false
	}
	for line := range strings.Lines(res.Stderr()) {
		line = strings.TrimSpace(line)
		if !strings.HasSuffix(line, "file changed as we read it") && !strings.HasSuffix(line, "socket ignored") {
			return false
		}
	}
	return true
}

// place gives what was unpacked its final name.
func place(kind, from, dst, base string) error {
	if resolved, err := filepath.EvalSymlinks(dst); err == nil {
		dst = resolved
	}
	info, err := os.Stat(dst)
	isDir := err == nil && info.IsDir()
	switch {
	case kind == kindFolder && isDir:
		return merge(from, dst)
	case kind == kindFolder && err == nil:
		return &fs.PathError{Op: "replace by a folder", Path: dst, Err: syscall.ENOTDIR}
	case kind == kindFolder:
		return os.Rename(from, filepath.Clean(dst))
	case isDir:
		dst = filepath.Join(dst, base)
		if info, err := os.Stat(dst); err == nil && info.IsDir() {
			return &fs.PathError{Op: "replace by a file", Path: dst, Err: syscall.EISDIR}
		}
	}
	return os.Rename(from, filepath.Clean(dst))
}

// merge moves the content of one folder into another one, which has its own permissions.
func merge(from, into string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		source, target := filepath.Join(from, entry.Name()), filepath.Join(into, entry.Name())
		if info, err := os.Stat(target); err == nil && info.IsDir() && entry.IsDir() {
			if err := merge(source, target); err != nil {
				return err
			}
			continue
		}
		if err := os.Rename(source, target); err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a folder in which others may be read-only.
func removeTree(root string) error {
	if os.RemoveAll(root) == nil {
		return nil
	}
	_ = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return nil
	})
	return os.RemoveAll(root)
}
