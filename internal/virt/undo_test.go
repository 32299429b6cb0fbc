package virt

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"libvirt.org/go/libvirt"
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

func TestADomainStartsOnceTheOneBeforeItIsForgotten(t *testing.T) {
	g := NewWithT(t)
	removing := libvirt.Error{Code: libvirt.ERR_OPERATION_FAILED, Message: "operation failed: domain 'lan-alice' is already being removed"}
	answers := []error{removing, removing, nil}
	want := &libvirt.Domain{}
	dom, err := onceRemoved(t.Context(), func() (*libvirt.Domain, error) {
		err := answers[0]
		answers = answers[1:]
		return want, err
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dom).To(BeIdenticalTo(want))
	g.Expect(answers).To(BeEmpty())
}

func TestADomainThatCannotStartIsNotTriedAgain(t *testing.T) {
	g := NewWithT(t)
	calls := 0
	exists := libvirt.Error{Code: libvirt.ERR_OPERATION_FAILED, Message: "operation failed: domain 'lan-alice' already exists"}
	_, err := onceRemoved(t.Context(), func() (*libvirt.Domain, error) { calls++; return nil, exists })
	g.Expect(err).To(MatchError(exists))
	g.Expect(calls).To(Equal(1))
}

func TestADomainThatIsNeverForgottenIsTheLastError(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	removing := libvirt.Error{Code: libvirt.ERR_OPERATION_FAILED, Message: "operation failed: domain 'lan-alice' is already being removed"}
	_, err := onceRemoved(ctx, func() (*libvirt.Domain, error) { cancel(); return nil, removing })
	g.Expect(err).To(MatchError(removing))
}
