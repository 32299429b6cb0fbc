package guest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file to deploy.
type File struct {
	// Src is a file or a folder on the host.
	Src string
	// Dst is its path in the guest, or an existing directory to put a file into.
	Dst string
	// Mode is the file's mode in the guest; 0 keeps the source's.
	Mode fs.FileMode
	// Owner is for chown(1), like "root" or "user:group"; "" means the user ionlab writes as.
	Owner string
}

// Upload copies a file or a folder from the host to the guest, making missing folders above dst.
//
// A file becomes dst, or dst/NAME if dst is a directory there. A folder becomes dst; if dst is a directory already, the
// folder's content is merged into it, replacing files of the same name. Slashes at the end mean nothing. src may be a
// symlink to what is to be copied; symlinks inside a folder stay symlinks. Modes (setuid and sticky bits too),
// modification times, empty files and folders, and holes are kept; owner is the user ionlab writes as.
//
// Each file appears under its name complete or not at all, its SHA-256 verified in the guest.
func (c *Client) Upload(ctx context.Context, src, dst string) error {
	return c.operate(ctx, "upload", src+" to "+dst, dst, func(ctx context.Context) error {
		return c.put(ctx, "upload", File{Src: src, Dst: dst})
	})
}

// Put copies a file to the guest like Upload, with a mode and an owner of its own. A folder can have an owner only.
func (c *Client) Put(ctx context.Context, f File) error {
	return c.operate(ctx, "put", f.Src+" to "+f.Dst, f.Dst, func(ctx context.Context) error {
		return c.put(ctx, "put", f)
	})
}

func (c *Client) put(ctx context.Context, op string, f File) error {
	in, err := os.Open(f.Src)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer in.Close() // It was only read.
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	base := filepath.Base(in.Name())
	if abs, err := filepath.Abs(in.Name()); err == nil {
		base = filepath.Base(abs)
	}
	mode := info.Mode()
	if f.Mode != 0 {
		mode = f.Mode
	}
	switch {
	case info.IsDir() && f.Mode != 0:
		return fmt.Errorf("source %s is a folder, which cannot be given one mode: leave the mode out", f.Src)
	case info.IsDir():
		return c.sendTree(ctx, tree{op: op, src: f.Src, dst: f.Dst, owner: f.Owner})
	case !info.Mode().IsRegular():
		return fmt.Errorf("source %s is neither a file nor a folder (%s)", f.Src, info.Mode().Type())
	case isSparse(info):
		return c.sendTree(ctx, tree{op: op, src: f.Src, dst: f.Dst, owner: f.Owner, base: base, mode: mode, file: in})
	}
	return c.send(ctx, upload{
		op: op, dst: f.Dst, base: base, mode: mode, owner: f.Owner, mtime: info.ModTime(), size: info.Size(),
		content: io.Reader(in),
	})
}
