package lab

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestPrepareLeavesASnapshotAndNoLab(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dirs, host := testDirs(t), newFakeHost(t)
	first := warmBench(t, dirs, host, two, nil)
	g.Expect(first.Prepare(within(t))).To(Succeed())
	g.Expect(first.Start(within(t))).To(MatchError(ContainSubstring("it was started before")))
	g.Expect(first.Close()).To(Succeed())
	g.Expect(snapshotsIn(t, dirs)).To(HaveLen(1))
	g.Expect(files(t, dirs)).To(BeEmpty())
	booted := len(host.overlays)

	again := warmBench(t, dirs, host, two, nil)
	g.Expect(again.Prepare(within(t))).To(Succeed())
	g.Expect(again.told()).NotTo(ContainElement(ContainSubstring("waiting for kernel")))
	g.Expect(again.Close()).To(Succeed())
	g.Expect(host.overlays).To(HaveLen(booted), "what is there costs nothing")

	lab := warmBench(t, dirs, host, two, nil)
	lab.up()
	g.Expect(lab.Beginning()).To(warm())
}

func TestPrepareWithoutSnapshotsMakesImagesOnly(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, nil) // starts cold
	g.Expect(b.Prepare(within(t))).To(Succeed())
	g.Expect(b.told()).To(ContainElements("alice: image debian-12: download", ": no snapshot asked for"))
	g.Expect(b.told()).NotTo(ContainElement(ContainSubstring("accelerator")))
	g.Expect(b.ID()).To(BeEmpty())
}

func TestPrepareSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, two, budget(1))
	g.Expect(b.Prepare(within(t))).To(MatchError(And(HavePrefix(`start lab "two": `), ContainSubstring("the host has 1"))))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(b.Prepare(within(t))).To(MatchError(ErrClosed))
}
