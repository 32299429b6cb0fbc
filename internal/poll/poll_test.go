package poll_test

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/poll"
)

func TestUntilReturnsOnSuccess(t *testing.T) {
	g := NewWithT(t)
	calls := 0
	err := poll.Until(t.Context(), time.Millisecond, func(context.Context) error {
		calls++
		if calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(calls).To(Equal(3))
}

func TestUntilNamesTheLastCause(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	cause := errors.New("connection refused")
	err := poll.Until(ctx, time.Millisecond, func(context.Context) error { return cause })
	g.Expect(err).To(MatchError(cause))
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err.Error()).To(And(ContainSubstring("gave up after"), ContainSubstring("connection refused")))
}

func TestUntilStopsAtOnce(t *testing.T) {
	g := NewWithT(t)
	dead := errors.New("machine is dead")
	calls := 0
	err := poll.Until(t.Context(), time.Hour, func(context.Context) error {
		calls++
		return poll.Stop(dead)
	})
	g.Expect(err).To(Equal(dead))
	g.Expect(calls).To(Equal(1))
}

func TestUntilDoesNotNameTheTryThatItCutOff(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	known := errors.New("connection refused")
	calls := 0
	err := poll.Until(ctx, time.Millisecond, func(ctx context.Context) error {
		if calls++; calls == 1 {
			return known
		}
		cancel()
		return ctx.Err()
	})
	g.Expect(err).To(MatchError(known))
	g.Expect(err.Error()).To(HaveSuffix("last cause: connection refused"))
}
