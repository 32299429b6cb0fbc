package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// depth is how thoroughly files are checked.
type depth int

const (
	quick    depth = iota // size and CRC-32C: 0.05 s for the memory of a small machine
	thorough              // SHA-256 too: ten times that
)

// check compares the entry's files with its manifest.
func (e *Entry) check(ctx context.Context, how depth) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for name, want := range e.Manifest.Files {
		group.Go(func() error {
			got, err := measure(ctx, e.Path(name), how, want.Size)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("%s is missing", name)
			case err != nil:
				return fmt.Errorf("%s: %w", name, err)
			case got.Size != want.Size:
				return fmt.Errorf("%s has %d bytes instead of %d", name, got.Size, want.Size)
			case got.CRC32C != want.CRC32C, how == thorough && got.SHA256 != want.SHA256:
				return fmt.Errorf("the content of %s has changed since it was saved", name)
			case got.Data > want.Data+filled:
				_ = dig(ctx, e.Path(name), got.Size) // it takes more of the disk than it has to: no reason to refuse it
			}
			return nil
		})
	}
	return group.Wait()
}

// filled is how many bytes of holes may have been written out before they are made holes again.
const filled = 16 << 20

// dig makes holes of the zeros of a file. A copy of the cache folder may have written them out: tar does, unless told otherwise,
// and a machine's memory then takes three times the room. The content stays the same, also for who maps it.
func dig(ctx context.Context, path string, size int64) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	const hole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	buf, zeros := make([]byte, block), make([]byte, block)
	begin := int64(0) // of the zeros before at
	for at := int64(0); err == nil && ctx.Err() == nil && at <= size; at += block {
		n := 0
		if at < size {
			if n, err = file.ReadAt(buf, at); errors.Is(err, io.EOF) {
				err = nil
			}
		}
		if err == nil && n > 0 && bytes.Equal(buf[:n], zeros[:n]) {
			continue
		}
		if err == nil && at > begin {
			err = unix.Fallocate(int(file.Fd()), hole, begin, min(at, size)-begin) //nolint:gosec // a descriptor.
		}
		begin = at + block
	}
	return errors.Join(err, file.Close())
}

// block is the least of a hole.
const block = 64 << 10

// measure reads a file. One whose size is not the expected one is not read; expect -1 to read any.
func measure(ctx context.Context, path string, how depth, expect int64) (File, error) {
	file, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return File{}, err
	}
	out := File{Size: info.Size()}
	if expect >= 0 && out.Size != expect {
		return out, nil
	}
	crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	into := io.Writer(crc)
	var sum hash.Hash
	if how == thorough {
		sum = sha256.New()
		into = io.MultiWriter(crc, sum)
	}
	if out.Data, err = readAll(ctx, file, out.Size, into); err != nil {
		return out, err
	}
	out.CRC32C = crc.Sum32()
	if sum != nil {
		out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	return out, nil
}

// readAll gives a file's content to a hash, and says how many bytes are not in holes. Holes are zeros like any other, but cost no reading.
func readAll(ctx context.Context, file *os.File, size int64, into io.Writer) (data int64, err error) {
	zeros, buf := make([]byte, chunk), make([]byte, chunk)
	for at := int64(0); at < size; {
		start, end, err := nextData(file, at, size)
		if err != nil {
			return data, err
		}
		for ; at < start && ctx.Err() == nil; at += min(chunk, start-at) {
			_, _ = into.Write(zeros[:min(chunk, start-at)]) // a hash takes everything
		}
		for at < end && ctx.Err() == nil {
			n, err := file.ReadAt(buf[:min(chunk, end-at)], at)
			_, _ = into.Write(buf[:n]) // as above
			at, data = at+int64(n), data+int64(n)
			if err != nil && at < end {
				return data, err
			}
		}
		if ctx.Err() != nil {
			return data, context.Cause(ctx)
		}
	}
	return data, nil
}

// chunk is how much of a file is read at once.
const chunk = 256 << 10

// nextData finds where the next bytes begin that are not in a hole, and where these end.
func nextData(file *os.File, from, size int64) (start, end int64, err error) {
	fd := int(file.Fd()) //nolint:gosec // a descriptor.
	start, err = unix.Seek(fd, from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL): // this file system does not tell
		return from, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	return min(start, size), min(end, size), err
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spaceHint adds to "no space left on device" where space is missing and what to do.
func spaceHint(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: free some space in %s (labtest snapshot rm, labtest gc)", err, dir)
	}
	return err
}

// usage is the disk space that the files of a folder take, in bytes. What vanishes meanwhile takes none.
func usage(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var stat unix.Stat_t
		if err == nil && unix.Lstat(path, &stat) == nil {
			sum += stat.Blocks * 512
		}
		return nil
	})
	return sum
}
