package fabric

import (
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestTimerRings(t *testing.T) {
	g := NewWithT(t)
	a, err := newTimer()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(a.close()).To(Succeed()) }()
	for _, d := range []time.Duration{-time.Second, 0, time.Microsecond, time.Millisecond, 20 * time.Millisecond} {
		began := time.Now()
		a.set(d)
		g.Expect(a.wait()).To(BeTrue())
		g.Expect(time.Since(began)).To(And(BeNumerically(">=", d), BeNumerically("<", d+patience)))
	}
}

func TestTimerTakesTheLastTime(t *testing.T) {
	g := NewWithT(t)
	a, err := newTimer()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(a.close()).To(Succeed()) }()
	began := time.Now()
	a.set(time.Hour)
	a.set(10 * time.Millisecond)
	g.Expect(a.wait()).To(BeTrue())
	g.Expect(time.Since(began)).To(BeNumerically(">=", 10*time.Millisecond))
	began = time.Now()
	a.set(time.Millisecond)
	a.set(50 * time.Millisecond)
	g.Expect(a.wait()).To(BeTrue())
	g.Expect(time.Since(began)).To(BeNumerically(">=", 50*time.Millisecond))
}

func TestTimerIsSetWhileSomebodyWaits(t *testing.T) {
	g := NewWithT(t)
	a, err := newTimer()
	g.Expect(err).NotTo(HaveOccurred())
	rung := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for a.wait() {
			rung <- struct{}{}
		}
	})
	for range 200 {
		a.set(50 * time.Microsecond)
		g.Eventually(rung).WithTimeout(patience).WithPolling(10 * time.Microsecond).Should(Receive())
	}
	g.Consistently(rung).WithTimeout(20*time.Millisecond).ShouldNot(Receive(), "it rings once")
	g.Expect(a.close()).To(Succeed())
	waiting.Wait()
	g.Expect(a.close()).To(Succeed())
	a.set(time.Millisecond)
	g.Expect(a.wait()).To(BeFalse())
}

func TestTimerDoesNotAllocate(t *testing.T) {
	g := NewWithT(t)
	a, err := newTimer()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(a.close()).To(Succeed()) }()
	g.Expect(testing.AllocsPerRun(100, func() {
		a.set(time.Microsecond)
		a.wait()
	})).To(BeZero())
}
