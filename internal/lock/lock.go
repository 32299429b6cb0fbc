package lock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process, or another part of this one, holds the lock.
var ErrBusy = errors.New("in use")

// Mode is how a lock is held: by one, or by any number that all want it shared.
type Mode int

// The modes of a lock.
const (
	Exclusive Mode = unix.LOCK_EX
	Shared    Mode = unix.LOCK_SH
)

// Lock is a held lock. It is not safe for concurrent use.
type Lock struct{ file *os.File }

// Try takes the lock at path, whose file it makes when it is missing, or fails with ErrBusy and what the holder has said. A
// file that was removed meanwhile is no lock: whoever holds it exclusively may remove it.
func Try(path string, mode Mode) (*Lock, error) {
	return try(path, mode, func() (*os.File, error) { return open(path, mode) })
}

// TryExisting is Try for a lock whose folder may be about to go: it makes no file. The error is os.ErrNotExist where there
// is none.
func TryExisting(path string, mode Mode) (*Lock, error) {
	return try(path, mode, func() (*os.File, error) { return openExisting(path, mode) })
}

func try(path string, mode Mode, open func() (*os.File, error)) (*Lock, error) {
	for {
		file, err := open()
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		err = flock(file, int(mode)|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("%w: %s", ErrBusy, holder(file)), file.Close())
		case err != nil:
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		case isAt(file, path):
			return &Lock{file}, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
}

// open makes the file as readable as its folder: who may list the folder may also share what lies in it.
func open(path string, mode Mode) (*os.File, error) {
	file, err := openExisting(path, mode)
	if !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	perm := os.FileMode(0o600)
	if folder, err := os.Stat(filepath.Dir(path)); err == nil {
		perm |= folder.Mode().Perm() & 0o044
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, perm)
}

// openExisting is content with a file that may only be read where the lock is wanted shared.
func openExisting(path string, mode Mode) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) && mode == Shared {
		return os.Open(path)
	}
	return file, err
}

func isAt(file *os.File, path string) bool {
	here, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(here, there)
}

// Sign leaves the holder's words, after its process id, for those who wait. It is a courtesy: a failure to write them is not
// one of the lock.
func (l *Lock) Sign(words string) {
	_ = l.Write([]byte(fmt.Sprintf("process %d %s\n", os.Getpid(), words)))
}

// Write replaces the content of the lock's file.
func (l *Lock) Write(text []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt(text, 0)
	return err
}

func holder(file *os.File) string {
	buf := make([]byte, 300)
	n, err := file.ReadAt(buf, 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	if line == "" || err != nil && !errors.Is(err, io.EOF) {
		return "another process holds it"
	}
	return line
}

// Remove removes the file of a lock that is held exclusively, and releases it. It is idempotent and nil-safe.
func (l *Lock) Remove() error {
	if l == nil || l.file == nil {
		return nil
	}
	err := os.Remove(l.file.Name())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.Close())
}

// Close releases the lock. It is idempotent and nil-safe.
func (l *Lock) Close() error {
	if l == nil || l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	// A program that this process is about to start shares the file until it runs: closing it here would not release it yet.
	return errors.Join(flock(file, unix.LOCK_UN), file.Close())
}

func flock(file *os.File, how int) error {
	for {
		if err := unix.Flock(int(file.Fd()), how); !errors.Is(err, unix.EINTR) { //nolint:gosec // a descriptor is small.
			return err
		}
	}
}
