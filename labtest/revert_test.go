package labtest

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
)

// fakeLab notes what is asked of it.
type fakeLab struct {
	asked []string
	fail  error
}

func (l *fakeLab) Snapshot(context.Context) error {
	l.asked = append(l.asked, "snapshot")
	return l.fail
}

func (l *fakeLab) Revert(context.Context) error {
	l.asked = append(l.asked, "revert")
	return l.fail
}

func TestRevertEachTakesASnapshotFirstAndThenGoesBack(t *testing.T) {
	g := NewWithT(t)
	first, second := &fakeLab{}, &fakeLab{}
	taken := snapshotsTaken[*fakeLab]{}
	for _, living := range [][]*fakeLab{{}, {first}, {first}, {first, second}, {second}, {second}} {
		g.Expect(taken.next(t.Context(), living)).To(Succeed())
	}
	g.Expect(first.asked).To(Equal([]string{"snapshot", "revert", "revert"}))
	g.Expect(second.asked).To(Equal([]string{"snapshot", "revert", "revert"}))
	g.Expect(taken).To(HaveLen(1), "labs that have ended are forgotten")
}

func TestRevertEachTriesASnapshotAgainThatFailed(t *testing.T) {
	g := NewWithT(t)
	l := &fakeLab{fail: errors.New("no space left on device")}
	taken := snapshotsTaken[*fakeLab]{}
	g.Expect(taken.next(t.Context(), []*fakeLab{l})).To(MatchError("no space left on device"))
	l.fail = nil
	g.Expect(taken.next(t.Context(), []*fakeLab{l})).To(Succeed())
	g.Expect(l.asked).To(Equal([]string{"snapshot", "snapshot"}))
}
