package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyChunk is how much is copied between two looks at the context.
const copyChunk = 8 << 20

// hashDir returns size and SHA-256 of all files of a folder.
func hashDir(ctx context.Context, dir string, rep *reporter) (map[string]fileMeta, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("hash image: %w", err)
	}
	var total, done int64
	for _, f := range list {
		if st, err := f.Info(); err == nil {
			total += st.Size()
		}
	}
	files := map[string]fileMeta{}
	for _, f := range list {
		m, err := hashFile(ctx, filepath.Join(dir, f.Name()), func(n int64) {
			done += n
			rep.bytes("hash", done, total)
		})
		if err != nil {
			return nil, fmt.Errorf("hash image: %w", err)
		}
		files[f.Name()] = m
	}
	return files, nil
}

func hashFile(ctx context.Context, path string, step func(n int64)) (fileMeta, error) {
	f, err := os.Open(path)
	if err != nil {
		return fileMeta{}, err
	}
	defer closeQuietly(f)
	h := sha256.New()
	size, err := copyChunks(ctx, h, f, step)
	if err != nil {
		return fileMeta{}, err
	}
	return fileMeta{Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// copyChunks is io.Copy that ends with the context; step gets the size of each chunk. Between two files the kernel copies, or
// shares the blocks where the file system can.
func copyChunks(ctx context.Context, dst io.Writer, src io.Reader, step func(n int64)) (int64, error) {
	var total int64
	for {
		if err := context.Cause(ctx); err != nil {
			return total, err
		}
		n, err := io.CopyN(dst, src, copyChunk)
		total += n
		if n > 0 {
			step(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// seal makes a file durable and read-only for all.
func seal(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Chmod(0o444), f.Close())
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// closeQuietly closes what was only read, or only locked: there is nothing to lose.
func closeQuietly(c io.Closer) { _ = c.Close() }

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spaceHint adds to "no space left on device" where space is missing and what to do.
func spaceHint(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: free some space in %s (labtest image rm NAME, labtest gc)", err, dir)
	}
	return err
}

// diskUsage is the space that the files of a folder take, in bytes.
func diskUsage(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return ignoreAbsent(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return ignoreAbsent(err)
		}
		sum += st.Blocks * 512
		return nil
	})
	return sum, err
}
