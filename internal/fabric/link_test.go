package fabric

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestASlowReaderStallsNobody(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	a, b, slow := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
	const frames = 10000
	var got atomic.Int64
	var reading sync.WaitGroup
	reading.Go(func() {
		for range frames {
			if _, err := b.tryRecv(patience); err != nil {
				return
			}
			got.Add(1)
		}
	})
	payload := strings.Repeat("x", 1000)
	for i := range frames {
		a.send(ether(broadcast, a.mac(), testType, payload))
		if i%500 == 0 { // Within the room of b's queue, which is no longer than the other's.
			g.Eventually(got.Load).WithTimeout(patience).WithPolling(time.Millisecond).Should(BeNumerically(">=", i-500))
		}
	}
	reading.Wait()
	g.Expect(got.Load()).To(BeEquivalentTo(frames))
	settled := func() uint64 { // The switch serves the slow one last.
		c := slow.link.Counters()
		return c.Ingress.Frames + c.Dropped[Overflow]
	}
	g.Eventually(settled).WithTimeout(patience).WithPolling(time.Millisecond).Should(BeEquivalentTo(frames))
	g.Expect(slow.link.Counters().Dropped[Overflow]).To(BeNumerically(">", frames/2))
	g.Expect(b.link.Counters().Dropped).To(BeEmpty())
}

func TestGarbageEndsOnlyItsLink(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"no length":   {0, 0, 0, 0},
		"too long":    binary.BigEndian.AppendUint32(nil, maxFrame+1),
		"4 GiB":       {0xff, 0xff, 0xff, 0xff, 1, 2, 3},
		"random text": []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newFabric(t, nil, lan(3))
			a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
			good := ether(broadcast, a.mac(), testType, "last words")
			a.send(good)
			_, err := a.conn.Write(garbage)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(b.recv()).To(Equal(good))
			_, err = a.tryRecv(patience)
			g.Expect(err).To(HaveOccurred())
			g.Expect(os.IsTimeout(err)).To(BeFalse(), "the connection has been closed")
			g.Eventually(a.link.Connected).WithTimeout(patience).Should(BeFalse())

			c.recv()
			c.send(ether(broadcast, c.mac(), testType, "still here"))
			g.Expect(string(b.recv()[headerLen:])).To(Equal("still here"))
			a = connect(t, f, "a", "lan")
			a.send(ether(broadcast, a.mac(), testType, "back"))
			g.Expect(string(b.recv()[headerLen:])).To(Equal("back"))
		})
	}
}

func TestShortFramesAreSkipped(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	a.send([]byte{1}, make([]byte, headerLen-1), ether(broadcast, a.mac(), testType, "whole"))
	g.Expect(string(b.recv()[headerLen:])).To(Equal("whole"))
	g.Expect(a.link.Counters().Dropped).To(Equal(map[Cause]uint64{Malformed: 2}))
}

func TestAConnectionCutInMidFrame(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	_, err := a.conn.Write([]byte{0, 0, 5, 0xdc, 1, 2, 3})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(a.conn.Close()).To(Succeed())
	g.Eventually(a.link.Connected).WithTimeout(patience).Should(BeFalse())
	b.silent()
	g.Expect(b.link.Connected()).To(BeTrue())
}

func TestALaterConnectionReplacesTheOneBefore(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	b := connect(t, f, "b", "lan")
	first := connect(t, f, "a", "lan")
	path, _ := f.Socket("a", "lan")
	conn, err := net.Dial("unix", path)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = conn.Close() }()
	_, err = first.tryRecv(patience)
	g.Expect(err).To(HaveOccurred())
	g.Expect(os.IsTimeout(err)).To(BeFalse(), "the first connection has been closed")

	second := &wire{t: t, conn: conn, host: first.host, link: first.link}
	g.Eventually(second.link.Connected).WithTimeout(patience).Should(BeTrue())
	second.send(ether(broadcast, second.mac(), testType, "rebooted"))
	g.Expect(string(b.recv()[headerLen:])).To(Equal("rebooted"))
	b.send(ether(second.mac(), b.mac(), testType, "welcome"))
	g.Expect(string(second.recv()[headerLen:])).To(Equal("welcome"))
}

func TestFramesForAnAbsentGuestAreCounted(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	a.send(ether(broadcast, a.mac(), testType, "anyone?"))
	b.recv()
	n, _ := f.Network("lan")
	absent, err := n.Link("c")
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() map[Cause]uint64 { return absent.Counters().Dropped }).WithTimeout(patience).
		Should(Equal(map[Cause]uint64{Disconnected: 1}))
}

func TestCountersCountFramesAndBytes(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	a.send(ether(b.mac(), a.mac(), testType, "12345"), ether(b.mac(), a.mac(), testType, "123"))
	b.recv()
	b.recv()
	want := Traffic{Frames: 2, Bytes: 2*headerLen + 8}
	g.Expect(a.link.Counters()).To(Equal(Counters{Egress: want, Dropped: map[Cause]uint64{}}))
	g.Expect(b.link.Counters()).To(Equal(Counters{Ingress: want, Dropped: map[Cause]uint64{}}))
}

// eatAll is a stage that lets nothing pass.
type eatAll struct {
	pool  *framePool
	eaten atomic.Int64
}

func (e *eatAll) accept(batch []*frame) {
	e.eaten.Add(int64(len(batch)))
	e.pool.release(batch)
}

func TestTheControlPathBypassesTheStages(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := boot(t, f, "a", "lan"), boot(t, f, "b", "lan")
	echo(t, a.listen(t, 22))
	n, _ := f.Network("lan")
	link, _ := n.Link("a")
	egress, ingress := &eatAll{pool: n.sw.pool}, &eatAll{pool: n.sw.pool}
	link.setStage(Egress, egress)
	link.setStage(Ingress, ingress)

	conn, err := f.Dial(within(t), "a", 22)
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "works while the data path is cut")
	counters := link.Counters()
	g.Expect(counters.ControlEgress.Frames).To(BeNumerically(">", 3))
	g.Expect(counters.ControlIngress.Frames).To(BeNumerically(">", 3))
	g.Expect(counters.Egress.Frames + counters.Ingress.Frames).To(BeZero())

	_, err = b.dial(within(t), "10.20.0.11:22")
	g.Expect(err).To(HaveOccurred(), "the data path is cut")
	g.Expect(ingress.eaten.Load()).To(BeNumerically(">", 0))

	link.setStage(Egress, nil)
	link.setStage(Ingress, nil)
	conn, err = b.dial(within(t), "10.20.0.11:22")
	g.Expect(err).NotTo(HaveOccurred())
	roundTrip(t, conn, "healed")
}

func TestAskingForTheControlAddressIsControl(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	n, _ := f.Network("lan")
	for _, d := range []Direction{Egress, Ingress} {
		a.link.setStage(d, &eatAll{pool: n.sw.pool})
	}
	ask := arpRequest(a.host, addr4(20, 2))
	a.send(ask)
	answer := a.recv()
	g.Expect(macOf(answer[6:])).To(Equal(macFor("lan", controlRole)))
	b.silent()
	a.send(arpRequest(a.host, addr4(20, 1)))
	a.silent()
}

func TestSocketsAreForTheirOwnerAlone(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "s")
	f := newFabric(t, func(c *Config) { c.Dir = dir }, lan(2))
	path, err := f.Socket("b", "lan")
	g.Expect(err).NotTo(HaveOccurred())
	info, err := os.Stat(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode()).To(Equal(os.ModeSocket | 0o600))
	info, err = os.Stat(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode()).To(Equal(os.ModeDir | 0o700))
}
