package lock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ionlab/internal/poll"
)

// every is how often a waiter looks again. flock(2) has no wait that a context could end.
const every = 25 * time.Millisecond

// Wait takes the lock at path, waiting for its holder until ctx ends. waiting is told what the holder has said, each time
// that changes; it may be nil.
func Wait(ctx context.Context, path string, mode Mode, waiting func(holder string)) (*Lock, error) {
	held, err := wait(ctx, waiting, func() (*Lock, error) { return Try(path, mode) })
	if err != nil {
		return nil, fmt.Errorf("wait for lock %s: %w", path, err)
	}
	return held, nil
}

// WaitExisting is Wait for a lock that must be there. The error is os.ErrNotExist where it is not, or not any more.
func WaitExisting(ctx context.Context, path string, mode Mode) (*Lock, error) {
	return wait(ctx, nil, func() (*Lock, error) { return TryExisting(path, mode) })
}

func wait(ctx context.Context, waiting func(holder string), try func() (*Lock, error)) (*Lock, error) {
	var held *Lock
	told := ""
	err := poll.Until(ctx, every, func(context.Context) (err error) {
		held, err = try()
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrBusy) {
			return poll.Stop(err)
		}
		if text := err.Error(); text != told && waiting != nil {
			told = text
			waiting(strings.TrimPrefix(text, ErrBusy.Error()+": "))
		}
		return err
	})
	return held, err
}

// Sweep removes the files of locks that nobody holds, of those at paths. What cannot be removed is no reason to stop.
func Sweep(paths []string) error {
	var errs []error
	for _, path := range paths {
		held, err := TryExisting(path, Exclusive)
		if err == nil {
			errs = append(errs, held.Remove())
		}
	}
	return errors.Join(errs...)
}
