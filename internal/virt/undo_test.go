package virt

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
)

func TestACallThatComesTooLateIsUndone(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why, began, finish := errors.New("the snapshot is damaged"), make(chan struct{}), make(chan struct{})
	undone := 0
	result := make(chan error, 1)
	go func() {
		result <- doOrUndo(ctx, "restore it", func() error { close(began); <-finish; return nil }, func() error { undone++; return nil })
	}()
	<-began
	cancel(why)
	g.Consistently(result).ShouldNot(Receive(), "the domain may still appear")
	close(finish)
	var err error
	g.Eventually(result).Should(Receive(&err))
	g.Expect(err).To(MatchError(why))
	g.Expect(undone).To(Equal(1))
}

func TestACallThatFailsTooLateLeavesNothingToUndo(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := doOrUndo(ctx, "restore it", func() error { cancel(); return errors.New("no") }, func() error { panic("there is nothing") })
	g.Expect(err).To(HaveOccurred())
}

func TestACallInTimeIsNotUndone(t *testing.T) {
	g := NewWithT(t)
	undo := func() error { panic("it is wanted") }
	g.Expect(doOrUndo(t.Context(), "create it", func() error { return nil }, undo)).To(Succeed())
	failure := errors.New("libvirt refuses")
	g.Expect(doOrUndo(t.Context(), "create it", func() error { return failure }, undo)).To(MatchError(failure))
}
