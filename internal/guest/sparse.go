package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// extent is a part of a file that holds data.
type extent struct{ offset, length int64 }

// isSparse tells whether a file occupies so much less than its size that its holes are worth the trouble.
func isSparse(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && st.Blocks*512+(64<<10) <= info.Size()
}

// occupied is what a file takes on disk, in bytes.
func occupied(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return min(st.Blocks*512, info.Size())
	}
	return info.Size()
}

// extents lists the parts of a file that hold data, by SEEK_DATA and SEEK_HOLE (lseek(2)), and leaves f at its start.
func extents(f *os.File, size int64) ([]extent, error) {
	var list []extent
	for offset := int64(0); offset < size; {
		data, err := f.Seek(offset, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			break // Only a hole follows.
		}
		if err != nil {
			return nil, fmt.Errorf("find the holes of %s: %w", f.Name(), err)
		}
		hole, err := f.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("find the holes of %s: %w", f.Name(), err)
		}
		hole = min(hole, size)
		list = append(list, extent{data, hole - data})
		offset = hole
	}
	_, err := f.Seek(0, io.SeekStart)
	return list, err
}

// sparseWriter writes a stream into a file and leaves out blocks of zeros. Close the stream with finish.
type sparseWriter struct {
	f    *os.File
	size int64 // written or left out so far
}

// holeSize is the unit in which zeros become holes: the block size of common file systems.
const holeSize = 4096

// Write implements io.Writer. Only whole, aligned blocks of a call are looked at.
func (w *sparseWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(holeSize-int(w.size%holeSize), len(p))
		run := n
		zero := isZero(p[:n])
		for run < len(p) && isZero(p[run:min(run+holeSize, len(p))]) == zero {
			run = min(run+holeSize, len(p))
		}
		if !zero {
			if _, err := w.f.WriteAt(p[:run], w.size); err != nil {
				return total - len(p), err
			}
		}
		w.size += int64(run)
		p = p[run:]
	}
	return total, nil
}

// finish gives the file its size, which zeros at the end have not.
func (w *sparseWriter) finish() error { return w.f.Truncate(w.size) }

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
