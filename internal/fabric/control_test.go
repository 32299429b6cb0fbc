package fabric

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
)

func TestDialReachesAGuest(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	echo(t, boot(t, f, "a", "lan").listen(t, 22))
	conn, err := f.Dial(within(t), "a", 22)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(addrOf(conn.LocalAddr())).To(Equal(addr4(20, 2)))
	roundTrip(t, conn, "hello")

	conn, err = f.DialAddr(within(t), "lan", netip.AddrPortFrom(addr4(20, 11), 22))
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "hello again")
}

func TestDialTellsWhyItFailed(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	boot(t, f, "a", "lan")
	connect(t, f, "b", "lan") // A machine that is still booting: connected, but mute.

	_, err := f.Dial(within(t), "a", 22)
	g.Expect(err).To(MatchError(ErrRefused))
	g.Expect(err).To(MatchError(`node "a" on network "lan": dial 10.20.0.11:22: connection refused`))

	_, err = f.Dial(within(t), "b", 22)
	g.Expect(err).To(MatchError(ErrNoAnswer))
	g.Expect(err).To(MatchError(`node "b" on network "lan": dial 10.20.0.12:22: no answer to ARP from 10.20.0.12`))

	_, err = f.Dial(within(t), "c", 22)
	g.Expect(err).To(MatchError(ErrNotConnected))
	g.Expect(err).To(MatchError(`dial port 22: node "c" is not connected to network "lan" yet: its QEMU has not opened the link`))

	_, err = f.Dial(within(t), "x", 22)
	g.Expect(err).To(MatchError(`node "x" is on no network`))
	_, err = f.DialAddr(within(t), "wan", netip.AddrPortFrom(addr4(20, 11), 22))
	g.Expect(err).To(MatchError(`no network "wan"; there are: lan`))
	_, err = f.DialAddr(within(t), "lan", netip.AddrPortFrom(addr4(21, 11), 22))
	g.Expect(err).To(MatchError(`dial 10.21.0.11:22: not in 10.20.0.0/24`))
}

func TestDialEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	connect(t, f, "a", "lan")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := f.Dial(ctx, "a", 22)
	g.Expect(time.Since(began)).To(BeNumerically("<", 4*time.Second))
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(ErrNoAnswer))
	g.Expect(err).To(MatchError(ContainSubstring("no answer to ARP from 10.20.0.11: context deadline exceeded")))
}

func TestCloseEndsADialThatWaits(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	a := connect(t, f, "a", "lan")
	failed := make(chan error)
	go func() {
		_, err := f.Dial(within(t), "a", 22)
		failed <- err
	}()
	a.recv() // The ARP question.
	began := time.Now()
	g.Expect(f.Close()).To(Succeed())
	g.Expect(time.Since(began)).To(BeNumerically("<", 4*time.Second))
	g.Eventually(failed).WithTimeout(patience).Should(Receive(MatchError(ContainSubstring("the fabric is closed"))))
	_, err := f.DialAddr(within(t), "lan", netip.AddrPortFrom(addr4(20, 99), 22))
	g.Expect(err).To(MatchError("dial 10.20.0.99:22: the fabric is closed"))
}

func TestManyDialsAtOnce(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	echo(t, boot(t, f, "a", "lan").listen(t, 22))
	var all sync.WaitGroup
	var good atomic.Int64
	for range 50 {
		all.Go(func() {
			conn, err := f.Dial(within(t), "a", 22)
			if err != nil {
				t.Error(err)
				return
			}
			roundTrip(t, conn, strings.Repeat("fifty at once ", 1000))
			good.Add(1)
		})
	}
	all.Wait()
	g.Expect(good.Load()).To(BeEquivalentTo(50))
}

func TestDialSucceedsOnceTheGuestIsUp(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	mute := connect(t, f, "a", "lan")
	_, err := f.Dial(within(t), "a", 22)
	g.Expect(err).To(MatchError(ErrNoAnswer))
	g.Expect(mute.conn.Close()).To(Succeed())
	g.Eventually(mute.link.Connected).WithTimeout(patience).Should(BeFalse())

	up := boot(t, f, "a", "lan")
	_, err = f.Dial(within(t), "a", 22)
	g.Expect(err).To(MatchError(ErrRefused), "its sshd is not up yet")
	echo(t, up.listen(t, 22))
	conn, err := f.Dial(within(t), "a", 22)
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "up")
}

func TestADialWaitsForAGuestThatComesUp(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(1))
	w := connect(t, f, "a", "lan")
	go func() { _, _ = f.Dial(within(t), "a", 22) }()
	g.Expect(parse(w.recv()).Layer(layers.LayerTypeARP)).NotTo(BeNil())
	again := time.Now()
	g.Expect(parse(w.recv()).Layer(layers.LayerTypeARP)).NotTo(BeNil())
	g.Expect(time.Since(again)).To(BeNumerically("<", 25*arpEvery), "it is asked for often, not once a second")
	g.Expect(f.Close()).To(Succeed())
}
