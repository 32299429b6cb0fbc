package labtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/lab"
)

func TestSourcesOfASetUp(t *testing.T) {
	g := NewWithT(t)
	sources, err := sourcesOf(reflect.ValueOf(TestSourcesOfASetUp).Pointer())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sources).To(HaveLen(1), "a test's file is not the whole package")
	g.Expect(filepath.Base(sources[0])).To(Equal("setup_test.go"))

	sources, err = sourcesOf(reflect.ValueOf(Prepare).Pointer())
	g.Expect(err).NotTo(HaveOccurred())
	here, err := os.Getwd()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sources).To(ContainElements(filepath.Join(here, "prepare.go"), filepath.Join(here, "lab.go")))
	g.Expect(sources).NotTo(ContainElement(HaveSuffix("_test.go")))
}

func TestForLab(t *testing.T) {
	g := NewWithT(t)
	g.Expect((*Setup)(nil).forLab(nil)).To(BeNil())
	_, err := (&Setup{Key: "x"}).forLab(nil)
	g.Expect(err).To(MatchError("WithSetup: Setup.Do is nil: give the function that sets the lab up"))
	l := &Lab{}
	var got *Lab
	setUp, err := (&Setup{Do: func(_ context.Context, l *Lab) error { got = l; return nil }, Files: []string{"a.deb"}, Key: "x"}).forLab(l)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(setUp.Files).To(HaveExactElements(HaveSuffix("setup_test.go"), Equal("a.deb")))
	g.Expect(setUp.Key).To(Equal("x"))
	g.Expect(setUp.Do(t.Context())).To(Succeed())
	g.Expect(got).To(BeIdenticalTo(l))
	g.Expect(l.started.Load()).To(BeTrue(), "evidence of a failed assertion is taken")
}

func TestAFailedSetUpIsNoFaultOfTheHost(t *testing.T) {
	g := NewWithT(t)
	g.Expect(startFailure(&lab.SetUpError{Lab: "pair", Err: errors.New("dpkg exited with 1")})).To(Equal(`set up lab "pair": dpkg exited with 1`))
	g.Expect(startFailure(errors.New("no image"))).To(Equal("infrastructure: lab did not start: no image"))
}
