// Package poll waits for conditions that nothing announces. Prefer an event where there is one.
package poll

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Stop wraps err so that Until returns it at once: the awaited condition cannot come true any more.
func Stop(err error) error {
	if err == nil {
		return nil
	}
	return &stopError{err}
}

type stopError struct{ err error }

func (s *stopError) Error() string { return s.err.Error() }
func (s *stopError) Unwrap() error { return s.err }

// Until calls fn at once and then every interval, until it returns nil, an error made by Stop, or ctx ends.
// When ctx ends, the result joins the context's cause with the last error of fn and tells how long it waited,
// so that a time-out names its cause; that is not the error of a call which the end of ctx cut off, unless there is no
// other: such a call has learnt nothing. fn gets ctx and must itself return when ctx ends.
func Until(ctx context.Context, every time.Duration, fn func(context.Context) error) error {
	began := time.Now()
	timer := time.NewTimer(every)
	defer timer.Stop()
	var last error
	for {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		var stop *stopError
		if errors.As(err, &stop) {
			return stop.err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		timer.Reset(every)
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w; last cause: %w",
				time.Since(began).Round(time.Millisecond), context.Cause(ctx), last)
		case <-timer.C:
		}
	}
}
