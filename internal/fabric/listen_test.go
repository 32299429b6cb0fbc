package fabric

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestListenIsReachedByItsNode(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a := boot(t, f, "a", "lan")
	ln, err := f.Listen("a")
	g.Expect(err).NotTo(HaveOccurred())
	echo(t, ln)
	g.Expect(addrOf(ln.Addr())).To(Equal(addr4(20, 2)), "the control address")
	conn, err := a.dial(within(t), ln.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "from the guest")
	link, err := f.Link("a", "lan")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(link.Counters().ControlEgress.Frames).To(BeNumerically(">", 3), "it took the control path")
	g.Expect(link.Counters().Egress.Frames).To(BeZero())

	_, err = f.Listen("x")
	g.Expect(err).To(MatchError(`node "x" is on no network`))
}

func TestListenEndsWithClose(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	ln, err := f.Listen("a")
	g.Expect(err).NotTo(HaveOccurred())
	done := make(chan error, 1)
	go func() { _, err := ln.Accept(); done <- err }()
	g.Expect(ln.Close()).To(Succeed())
	g.Eventually(done).WithTimeout(patience).Should(Receive(HaveOccurred()))
	g.Expect(ln.Close()).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
	_, err = f.Listen("a")
	g.Expect(err).To(MatchError(ContainSubstring("closed")))
}
