package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ionlab/internal/poll"
)

// errBusy says that another process, or another part of this one, holds the lock.
var errBusy = errors.New("in use")

// lockEvery is how often a waiter looks again. flock(2) has no wait that a context could end.
const lockEvery = 25 * time.Millisecond

// lock is a held flock(2). The kernel releases it when the process dies.
type lock struct{ file *os.File }

// tryLock takes the lock at path, exclusively or shared (unix.LOCK_EX, unix.LOCK_SH), or fails with errBusy. A lock whose
// file was removed meanwhile is no lock: whoever holds it exclusively may remove it.
func tryLock(path string, how int) (*lock, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		for {
			err = unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("%w: %s", errBusy, holder(file)), file.Close())
		case err != nil:
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		case isAt(file, path):
			return &lock{file}, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
}

// tryExisting is tryLock for a lock whose folder may be about to go: it makes no file.
func tryExisting(path string, how int) (*lock, error) {
	if _, err := os.Lstat(path); err != nil {
		return nil, err
	}
	return tryLock(path, how)
}

// waitExisting takes an existing lock shared. Whoever has it exclusively is about to remove it, or only looks.
func waitExisting(ctx context.Context, path string) (*lock, error) {
	var held *lock
	err := poll.Until(ctx, lockEvery, func(context.Context) (err error) {
		held, err = tryExisting(path, unix.LOCK_SH)
		if err != nil && !errors.Is(err, errBusy) {
			return poll.Stop(err)
		}
		return err
	})
	return held, err
}

func isAt(file *os.File, path string) bool {
	here, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(here, there)
}

// waitLock takes the lock at path, waiting for its holder. waiting is told each time the holder changes; it may be nil.
func waitLock(ctx context.Context, path string, how int, waiting func(holder string)) (*lock, error) {
	var held *lock
	told := ""
	err := poll.Until(ctx, lockEvery, func(context.Context) error {
		l, err := tryLock(path, how)
		if err == nil {
			held = l
			return nil
		}
		if !errors.Is(err, errBusy) {
			return poll.Stop(err)
		}
		if text := err.Error(); text != told && waiting != nil {
			told = text
			waiting(strings.TrimPrefix(text, errBusy.Error()+": "))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for lock %s: %w", path, err)
	}
	return held, nil
}

// sign leaves the holder's words for those who wait; it is a courtesy, so a failure to write them is not one of the lock.
func (l *lock) sign(doing string) {
	text := fmt.Sprintf("process %d %s\n", os.Getpid(), doing)
	if l.file.Truncate(0) == nil {
		_, _ = l.file.WriteAt([]byte(text), 0)
	}
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

// remove removes the file of a lock that is held exclusively, and releases it.
func (l *lock) remove() error {
	if l == nil || l.file == nil {
		return nil
	}
	return errors.Join(ignoreAbsent(os.Remove(l.file.Name())), l.Close())
}

// Close releases the lock. It is idempotent and nil-safe.
func (l *lock) Close() error {
	if l == nil || l.file == nil {
		return nil
	}
	file := l.file
	l.file = nil
	return file.Close()
}
