package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ionlab/internal/poll"
)

// errBusy says that another process, or another part of this one, holds the lock.
var errBusy = errors.New("in use")

// lockEvery is how often a waiter looks again. flock(2) has no wait that a context could end.
const lockEvery = 50 * time.Millisecond

// lock is a held flock(2). The kernel releases it when the process dies. Lock files are never removed: two processes could then
// hold "the same" lock on two files.
type lock struct{ f *os.File }

// tryLock takes the lock at path, exclusively or shared (unix.LOCK_EX, unix.LOCK_SH), or fails with errBusy.
func tryLock(path string, how int) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if errors.Is(err, os.ErrPermission) && how == unix.LOCK_SH {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err == nil:
		return &lock{f}, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: %s", errBusy, holder(f)), f.Close())
	default:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
}

// waitLock takes the lock at path exclusively, waiting for its holder; waiting is told each time the holder changes. doing says
// what this process will do with it, for those who then wait.
func waitLock(ctx context.Context, path, doing string, waiting func(holder string)) (*lock, error) {
	var held *lock
	told := ""
	err := poll.Until(ctx, lockEvery, func(context.Context) error {
		l, err := tryLock(path, unix.LOCK_EX)
		if err == nil {
			held = l
			return nil
		}
		if !errors.Is(err, errBusy) {
			return poll.Stop(err)
		}
		if text := err.Error(); text != told {
			told = text
			waiting(strings.TrimPrefix(text, errBusy.Error()+": "))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the lock to go on with: %s: %w", doing, err)
	}
	held.sign(doing)
	return held, nil
}

// waitShared takes the lock at path shared, waiting for an exclusive holder. Objects have one only for the moment in which they
// are removed or looked at.
func waitShared(ctx context.Context, path string) (*lock, error) {
	var held *lock
	err := poll.Until(ctx, lockEvery, func(context.Context) (err error) {
		held, err = tryLock(path, unix.LOCK_SH)
		if err != nil && !errors.Is(err, errBusy) {
			return poll.Stop(err)
		}
		return err
	})
	return held, err
}

// sign leaves the holder's name for those who wait; it is a courtesy, so a failure to write it is not one of the lock.
func (l *lock) sign(doing string) {
	text := fmt.Sprintf("process %d is at: %s\n", os.Getpid(), doing)
	if l.f.Truncate(0) == nil {
		_, _ = l.f.WriteAt([]byte(text), 0)
	}
}

func holder(f *os.File) string {
	buf := make([]byte, 200)
	n, _ := f.ReadAt(buf, 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	if line == "" {
		return "another process holds it"
	}
	return line
}

// Close releases the lock. It is idempotent and nil-safe.
func (l *lock) Close() error {
	if l == nil || l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	return f.Close()
}
