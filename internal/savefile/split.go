// Package savefile takes the guest's memory out of the file to which libvirt has saved a machine.
//
// Split leaves two files: what libvirt wrote, without the pages of the guest's memory, and an image of these that another
// QEMU maps for itself. Nothing is read then but what the guest touches, and machines that were restored from one image
// share what they have not written to. The form is that of libvirt's virQEMUSaveHeader, then QEMU's migration stream
// (docs/devel/migration.rst, migration/savevm.c and migration/ram.c), as QEMU 7.2 and libvirt 9.0 write it.
package savefile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrForm is wrapped by errors about a file that is not of the form that Split knows. It is as it was, and can be restored.
var ErrForm = errors.New("it is not of the form that is known")

// Names are what the block of the guest's memory is called.
type Names struct {
	From []string // in what was saved: the first of these that is found
	To   string   // in what is left of it, by which the next QEMU finds the image: at most 255 bytes
}

// partSuffix is that of a file that is not complete.
const partSuffix = ".part"

// Split moves the guest's memory from state, a file that libvirt saved a running or paused machine to, into a sparse image,
// memory. The new state has the owner of the old. Zeros are holes. After an error state is as it was, and memory is not there.
func Split(ctx context.Context, state, memory string, names Names) (err error) {
	part := state + partSuffix
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("take the memory out of %s: %w", state, err), os.RemoveAll(part), os.RemoveAll(memory))
		}
	}()
	from, err := os.Open(state)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // it was only read
	to, err := createLike(from, part)
	if err != nil {
		return err
	}
	into, err := createLike(from, memory)
	if err != nil {
		return errors.Join(err, to.Close())
	}
	out := bufio.NewWriterSize(to, 1<<20)
	s := &splitter{in: bufio.NewReaderSize(from, 1<<20), out: out, image: &image{file: into}, names: names}
	err = s.run(ctx)
	if err == nil {
		err = errors.Join(out.Flush(), s.image.flush())
	}
	if err = errors.Join(err, to.Close(), into.Close()); err != nil {
		return err
	}
	return os.Rename(part, state)
}

// createLike creates a file that belongs to the owner of another, and that only the owner can use.
func createLike(like *os.File, path string) (*os.File, error) {
	info, err := like.Stat()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = file.Chown(int(stat.Uid), int(stat.Gid))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// image is the guest's memory. Pages that follow each other are written as one.
type image struct {
	file *os.File
	at   int64 // of pend
	pend []byte
	end  int64 // of the highest page that was written
}

// most is how many bytes an image holds back.
const most = 1 << 20

func (i *image) put(at int64, page []byte) error {
	if at != i.at+int64(len(i.pend)) || len(i.pend) >= most {
		if err := i.flush(); err != nil {
			return err
		}
		i.at = at
	}
	i.pend = append(i.pend, page...)
	i.end = max(i.end, at+int64(len(page)))
	return nil
}

// clear makes a page of zeros, which is a hole unless the page may have been written before.
func (i *image) clear(at int64) error {
	if at >= i.end {
		return nil
	}
	return i.put(at, make([]byte, pageSize))
}

func (i *image) flush() error {
	_, err := i.file.WriteAt(i.pend, i.at)
	i.pend = i.pend[:0]
	return err
}

// unexpected says that the file ends too early, as something that is not of the form.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrForm)
	}
	return err
}
