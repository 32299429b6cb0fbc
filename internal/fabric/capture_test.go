package fabric

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	. "github.com/onsi/gomega"
)

// safeBuffer is a file that may be read while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// seen is one packet of a capture file.
type seen struct{ iface, way, text string }

// readCapture takes a capture file apart.
func readCapture(t *testing.T, file []byte) ([]seen, *pcapgo.NgReader) {
	t.Helper()
	g := NewWithT(t)
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	g.Expect(err).NotTo(HaveOccurred())
	var all []seen
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			g.Expect(err).To(MatchError(io.EOF))
			return all, r
		}
		iface, err := r.Interface(info.InterfaceIndex)
		g.Expect(err).NotTo(HaveOccurred())
		s := seen{iface: iface.Name, text: string(data[headerLen:])}
		if options.Flags != nil {
			s.way = map[pcapgo.NgEpbFlag]string{pcapgo.NgEpbFlagDirectionInbound: "in", pcapgo.NgEpbFlagDirectionOutbound: "out"}[options.Flags.Direction]
		}
		all = append(all, s)
	}
}

func network(t *testing.T, f *Fabric, name string) *Network {
	t.Helper()
	n, err := f.Network(name)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return n
}

func TestACaptureShowsWhatEachLinkSaw(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(3))
	a, b, c := connect(t, f, "a", "lan"), connect(t, f, "b", "lan"), connect(t, f, "c", "lan")
	n := network(t, f, "lan")
	var file, one safeBuffer
	all, err := n.Capture(t.Context(), &file, CaptureOptions{Comment: "lab two-sites"})
	g.Expect(err).NotTo(HaveOccurred())
	alone, err := b.link.Capture(t.Context(), &one, CaptureOptions{})
	g.Expect(err).NotTo(HaveOccurred())

	a.send(ether(broadcast, a.mac(), testType, "hello"))
	b.recv()
	c.recv()
	f.Comment("By: b answers")
	all.Comment("a note of its own")
	c.link.setStage(Ingress, &eatAll{pool: n.sw.pool})
	b.send(ether(broadcast, b.mac(), testType, "answer"))
	a.recv()
	a.send(arpRequest(a.host, addr4(20, 2)))
	a.recv() // The control path is at work, and left out.
	g.Expect(all.Close()).To(Succeed())
	g.Expect(alone.Close()).To(Succeed())
	a.send(ether(b.mac(), a.mac(), testType, "too late"))
	b.recv()

	packets, r := readCapture(t, file.bytes())
	g.Expect(packets).To(Equal([]seen{
		{"a@lan", "out", "hello"},
		{"b@lan", "in", "hello"},
		{"c@lan", "in", "hello"},
		{"comments", "", "By: b answers"},
		{"comments", "", "a note of its own"},
		{"b@lan", "out", "answer"},
		{"a@lan", "in", "answer"},
	}))
	g.Expect(r.SectionInfo().Comment).To(Equal("network lan\nlab two-sites"))
	iface, _ := r.Interface(0)
	g.Expect(iface.Description).To(Equal("10.20.0.11"))
	g.Expect(iface.Statistics.PacketsReceived).To(BeEquivalentTo(2))
	g.Expect(iface.Statistics.PacketsDropped).To(BeZero())
	g.Expect(all.Frames()).To(Equal(5))
	g.Expect(all.Dropped()).To(BeZero())

	packets, r = readCapture(t, one.bytes())
	g.Expect(packets).To(Equal([]seen{{"b@lan", "in", "hello"}, {"comments", "", "By: b answers"}, {"b@lan", "out", "answer"}}))
	g.Expect(r.SectionInfo().Comment).To(Equal("link of b to network lan"))
	g.Expect(r.NInterfaces()).To(Equal(2))
}

// stuckFile is a file whose first write waits for release.
type stuckFile struct {
	safeBuffer
	release chan struct{}
}

func (s *stuckFile) Write(p []byte) (int, error) {
	<-s.release
	return s.safeBuffer.Write(p)
}

func TestACaptureThatCannotFollowHoldsUpNobody(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	file := &stuckFile{release: make(chan struct{})}
	c, err := a.link.Capture(t.Context(), file, CaptureOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	const frames = 10_000 // More than the queue, and than the buffer before the file.
	for range frames {
		a.send(ether(b.mac(), a.mac(), testType, string(make([]byte, 1000))))
		b.recv()
	}
	g.Expect(c.Frames()).To(Equal(frames))
	dropped := c.Dropped()
	g.Expect(dropped).To(BeNumerically(">", 0))
	close(file.release)
	g.Expect(c.Close()).To(Succeed())
	g.Expect(c.Dropped()).To(Equal(dropped))

	packets, r := readCapture(t, file.bytes())
	g.Expect(packets).To(HaveLen(frames - dropped))
	iface, _ := r.Interface(0)
	g.Expect(iface.Statistics.PacketsReceived).To(BeEquivalentTo(frames))
	g.Expect(iface.Statistics.PacketsDropped).To(BeEquivalentTo(dropped))
}

// fullDisk fails every write.
type fullDisk struct{}

var errDisk = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errDisk }

func TestAFailingCaptureEndsAlone(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	c, err := a.link.Capture(t.Context(), fullDisk{}, CaptureOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	payload := string(make([]byte, 1400))
	for i := 0; ; i++ {
		a.send(ether(b.mac(), a.mac(), testType, payload))
		b.recv()
		if ended(c) {
			break
		}
		g.Expect(i).To(BeNumerically("<", 100_000), "the capture notices")
	}
	g.Expect(a.link.watch.live.Load()).To(BeNil(), "its frames are shown to nobody any more")
	a.send(ether(b.mac(), a.mac(), testType, "goes on"))
	g.Expect(string(b.recv()[headerLen:])).To(Equal("goes on"))
	c.Comment("nobody reads this")
	g.Expect(c.Close()).To(MatchError("write to the capture file: no space left on device"))
	g.Expect(c.Close()).To(MatchError(errDisk))
	g.Expect(f.Close()).To(Succeed())
}

func ended(c *Capture) bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func TestACaptureEndsWithItsContextAndWithTheFabric(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	n := network(t, f, "lan")
	var bounded, open safeBuffer
	ctx, cancel := context.WithCancel(t.Context())
	first, err := n.Capture(ctx, &bounded, CaptureOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	second, err := n.Capture(t.Context(), &open, CaptureOptions{SnapLen: headerLen + 3, MaxBytes: 1 << 20})
	g.Expect(err).NotTo(HaveOccurred())
	a.send(ether(b.mac(), a.mac(), testType, "once"))
	b.recv()
	cancel()
	g.Eventually(first.done).WithTimeout(patience).Should(BeClosed())
	packets, _ := readCapture(t, bounded.bytes())
	g.Expect(packets).To(ContainElement(seen{"a@lan", "out", "once"}))

	g.Expect(f.Close()).To(Succeed())
	g.Expect(second.done).To(BeClosed())
	packets, _ = readCapture(t, open.bytes())
	g.Expect(packets).To(ContainElement(seen{"a@lan", "out", "onc"}))
	_, err = n.Capture(t.Context(), &open, CaptureOptions{})
	g.Expect(err).To(MatchError("capture network lan: the fabric is closed"))
	for _, c := range []*Capture{first, second, nil} {
		g.Expect(c.Close()).To(Succeed())
		g.Expect(c.Close()).To(Succeed())
	}
}

func TestACaptureIsOnDiskSoon(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	var file safeBuffer
	c, err := a.link.Capture(t.Context(), &file, CaptureOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	a.send(ether(b.mac(), a.mac(), testType, "evidence"))
	b.recv()
	g.Eventually(func() string { return string(file.bytes()) }).WithTimeout(patience).Should(ContainSubstring("evidence"), "before it is closed")
	g.Expect(c.Close()).To(Succeed())
}

func TestTheRingKeepsTheLastFramesOfANetwork(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	n := network(t, f, "lan")
	var file safeBuffer
	c, err := n.Capture(t.Context(), &file, CaptureOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	a.send(ether(b.mac(), a.mac(), testType, "before"))
	b.recv()
	f.Comment("By: it breaks")
	a.link.SetUp(false)
	a.send(ether(b.mac(), a.mac(), testType, "after"))
	g.Eventually(func() uint64 { return a.link.Counters().Dropped[LinkDown] }).WithTimeout(patience).Should(BeEquivalentTo(1))
	g.Expect(c.Close()).To(Succeed())

	want := []seen{{"a@lan", "out", "before"}, {"b@lan", "in", "before"}, {"comments", "", "By: it breaks"}, {"a@lan", "out", "after"}}
	var recent bytes.Buffer
	g.Expect(n.Recent(&recent)).To(Succeed())
	packets, r := readCapture(t, recent.Bytes())
	g.Expect(packets).To(Equal(want))
	g.Expect(r.SectionInfo().Comment).To(HavePrefix("network lan\nthe last 3 of 3 frames"))
	packets, _ = readCapture(t, file.bytes())
	g.Expect(packets).To(Equal(want), "both see the same")
	g.Expect(n.Recent(fullDisk{})).To(MatchError(`write the last frames of network "lan": write to the capture file: no space left on device`))
}

func TestTappingDoesNotAllocate(t *testing.T) {
	g := NewWithT(t)
	pool := new(framePool)
	taps := newTaps(pool, time.Now)
	w := taps.watch(0)
	batch := []*frame{pool.get(1514), pool.get(60)}
	w.egress(batch)
	g.Expect(testing.AllocsPerRun(1000, func() { w.egress(batch) })).To(BeZero())
}

func TestANetworkWithoutLinksIsAnEmptyCapture(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(0))
	n := network(t, f, "lan")
	var file, recent safeBuffer
	c, err := n.Capture(t.Context(), &file, CaptureOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Close()).To(Succeed())
	g.Expect(n.Recent(&recent)).To(Succeed())
	for _, b := range []*safeBuffer{&file, &recent} {
		packets, _ := readCapture(t, b.bytes())
		g.Expect(packets).To(BeEmpty())
	}
}

func TestACaptureShowsARouterOnBothSides(t *testing.T) {
	g := NewWithT(t)
	f, _ := twoSites(t, preset(t, "symmetric"), nil)
	alice := boot(t, f, "alice", "home").through(addr4(20, 200))
	bob := boot(t, f, "bob", "wan")
	a, b := alice.udp(t, 5000), bob.udp(t, 6000)
	captured := make(map[string][]seen)
	for _, name := range []string{"home", "wan"} {
		var file safeBuffer
		c, err := network(t, f, name).Capture(t.Context(), &file, CaptureOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { g.Expect(c.Close()).To(Succeed()) }()
		a.send("10.30.0.11:6000", "through "+name)
		g.Expect(b.hears("through " + name)).To(BeTrue())
		g.Expect(c.Close()).To(Succeed())
		captured[name], _ = readCapture(t, file.bytes())
	}
	source := func(network, iface, way string) net.IP {
		for _, s := range captured[network] {
			if s.iface == iface && s.way == way && strings.HasSuffix(s.text, "through "+network) {
				return net.IP([]byte(s.text)[12:16])
			}
		}
		t.Errorf("no %sbound packet on %s", way, iface)
		return nil
	}
	g.Expect(source("home", "alice@home", "out").String()).To(Equal("10.20.0.11"))
	g.Expect(source("home", "gw@home", "in").String()).To(Equal("10.20.0.11"))
	g.Expect(source("wan", "gw@wan", "out").String()).To(Equal("10.30.0.200"))
	g.Expect(source("wan", "bob@wan", "in").String()).To(Equal("10.30.0.200"))
}
