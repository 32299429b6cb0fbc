package lab

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
)

// diary is what was done when.
type diary struct {
	began   time.Time
	entries []string
}

func (d *diary) step(after time.Duration, name string) Step {
	return Step{After: after, Do: func(context.Context) error {
		d.entries = append(d.entries, fmt.Sprintf("%s %s", time.Since(d.began), name))
		return nil
	}}
}

func TestTimelinesArePlayedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		d := &diary{began: time.Now()}
		g.Expect(play(t.Context(), []Timeline{
			{Steps: []Step{d.step(time.Second, "a1"), d.step(2*time.Second, "a2")}},
			{Steps: []Step{d.step(0, "b1"), d.step(time.Second, "b2"), d.step(0, "b3")}},
		})).To(Succeed())
		g.Expect(d.entries).To(Equal([]string{"0s b1", "1s a1", "1s b2", "1s b3", "3s a2"}), "of steps due at once, the first timeline's come first")
	})
}

func TestTimelinesThatRepeatDoNotDrift(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ctx, cancel := context.WithTimeout(t.Context(), 8500*time.Millisecond)
		defer cancel()
		d := &diary{began: time.Now()}
		slow := d.step(time.Second, "up")
		do := slow.Do
		slow.Do = func(ctx context.Context) error {
			time.Sleep(300 * time.Millisecond) //nolint:forbidigo // the time of the bubble.
			return do(ctx)
		}
		g.Expect(play(ctx, []Timeline{{Repeat: true, Steps: []Step{d.step(2*time.Second, "down"), slow}}})).To(Succeed(), "to be stopped is no error")
		g.Expect(d.entries).To(Equal([]string{"2s down", "3.3s up", "5s down", "6.3s up", "8s down"}))
	})
}

func TestTimelineEndsAtAStepThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		broken := errors.New("broken")
		d := &diary{began: time.Now()}
		rounds := 0
		failing := Step{After: time.Second, Do: func(context.Context) error {
			if rounds++; rounds == 2 {
				return broken
			}
			return nil
		}}
		err := play(t.Context(), []Timeline{{Repeat: true, Steps: []Step{d.step(time.Second, "fine"), failing}}})
		g.Expect(err).To(MatchError(broken))
		g.Expect(err).To(MatchError("timeline 1, step 2 of 2, 4s after the start (round 2): broken"))
		g.Expect(d.entries).To(HaveLen(2))
	})
}

func TestTimelinesThatCannotBePlayed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	fine := Step{After: time.Second, Do: func(context.Context) error { return nil }}
	back := fine
	back.After = -time.Second
	for want, timelines := range map[string][]Timeline{
		"schedule: there is no timeline":                                                      {},
		"schedule: timeline 2: it has no steps":                                               {{Steps: []Step{fine}}, {}},
		"schedule: the lab was not started":                                                   {{Steps: []Step{fine}}},
		"schedule: timeline 1: step 2 comes -1s after the one before: time runs forward only": {{Steps: []Step{fine, back}}},
		"schedule: timeline 1: one round takes 0s: what repeats has to take 1ms at least":     {{Repeat: true, Steps: []Step{{Do: fine.Do}}}},
	} {
		_, err := b.Schedule(timelines, nil)
		g.Expect(err).To(MatchError(want))
	}
}

func TestScheduleBringsBackWhatItChanged(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	link := b.link("alice", "lan")
	undo := &Undo{}
	s, err := b.Schedule([]Timeline{{Repeat: true, Steps: []Step{
		{After: 2 * time.Millisecond, Do: func(context.Context) error { return link.Down(undo) }},
		{After: 2 * time.Millisecond, Do: func(context.Context) error {
			return errors.Join(link.Up(undo), b.Impair([]*Link{link}, Impairment{LossPercent: 5}, undo))
		}},
	}}}, undo)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(link.State).WithTimeout(patience).WithPolling(time.Millisecond).Should(Equal("loss 5 %"))
	g.Eventually(link.State).WithTimeout(patience).WithPolling(time.Millisecond).Should(Equal("down; loss 5 %"))
	g.Expect(s.Err()).To(Succeed())
	g.Expect(s.Stop()).To(Succeed())
	g.Expect(s.Stop()).To(Succeed(), "a second time")
	g.Expect(s.Done()).To(BeClosed())
	g.Expect(link.State()).To(Equal("none"))
}

func TestScheduleTellsWhatFailed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	s, err := b.Schedule([]Timeline{{Steps: []Step{{Do: func(context.Context) error { return errors.New("broken") }}}}}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(s.Done()).WithTimeout(patience).Should(BeClosed())
	const want = "timeline 1, step 1 of 1, 0s after the start (round 1): broken"
	g.Expect(s.Err()).To(MatchError(want))
	g.Expect(s.Stop()).To(MatchError(want))
}

func TestCloseEndsSchedules(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	link, undo := b.link("alice", "lan"), &Undo{}
	down := make(chan struct{})
	s, err := b.Schedule([]Timeline{
		{Steps: []Step{{Do: func(context.Context) error { defer close(down); return link.Down(undo) }}, {After: time.Hour, Do: func(context.Context) error { return nil }}}},
	}, undo)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(down).WithTimeout(patience).Should(BeClosed())
	g.Expect(b.Close()).To(Succeed())
	g.Expect(s.Done()).To(BeClosed())
	g.Expect(s.Stop()).To(Succeed(), "what it changed went with the lab")
	_, err = b.Schedule([]Timeline{{Steps: []Step{{Do: func(context.Context) error { return nil }}}}}, nil)
	g.Expect(err).To(MatchError(ErrClosed))
}
