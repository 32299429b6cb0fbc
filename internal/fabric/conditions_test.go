package fabric

import (
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/impair"
)

func TestALinkThatIsDownPassesNothing(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	g.Expect(a.link.Up()).To(BeTrue())
	a.link.SetUp(false)
	g.Expect(a.link.Up()).To(BeFalse())
	a.send(ether(broadcast, a.mac(), testType, "out"))
	b.silent()
	b.send(ether(broadcast, b.mac(), testType, "in"))
	a.silent()
	g.Expect(a.link.Counters().Dropped).To(Equal(map[Cause]uint64{LinkDown: 2}))
	g.Expect(a.link.Counters().Egress.Frames).To(BeEquivalentTo(1), "the guest did send it")
	a.link.SetUp(true)
	a.send(ether(broadcast, a.mac(), testType, "again"))
	g.Expect(string(b.recv()[headerLen:])).To(Equal("again"))
}

func TestConditionsAreCheckedAndKept(t *testing.T) {
	g := NewWithT(t)
	network := lan(2)
	network.Hosts[0].Conditions.Egress.Delay = time.Millisecond
	f := newFabric(t, nil, network)
	link, err := f.Link("a", "lan")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(link.Conditions()).To(Equal(network.Hosts[0].Conditions))
	err = link.SetConditions(Conditions{Egress: impair.Impairment{LossPercent: 120}, Ingress: impair.Impairment{Delay: -1}})
	g.Expect(err).To(MatchError(`set the conditions of "a" on network "lan": egress: loss 120 %, want 0 to 100 %` +
		"\ningress: delay -1ns, want 0 to 1h0m0s"))
	g.Expect(link.Conditions()).To(Equal(network.Hosts[0].Conditions), "as before")
	g.Expect(link.SetConditions(Conditions{})).To(Succeed())
	g.Expect(link.Conditions()).To(BeZero())

	network.Hosts[0].Conditions.Egress.Delay = -1
	_, err = New(Config{Dir: t.TempDir(), Networks: []NetworkConfig{network}})
	g.Expect(err).To(MatchError(`network "lan": node "a": egress: delay -1ns, want 0 to 1h0m0s`))
}

// logTap keeps what it sees.
type logTap struct {
	mu   sync.Mutex
	seen []string
}

func (l *logTap) egress(batch []*frame)  { l.note("egress", batch) }
func (l *logTap) ingress(batch []*frame) { l.note("ingress", batch) }

func (l *logTap) note(way string, batch []*frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range batch {
		l.seen = append(l.seen, way+" "+string(f.bytes()[headerLen:]))
	}
}

func (l *logTap) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seen)
}

func TestATapSeesDataAsSentAndAsArrived(t *testing.T) {
	g := NewWithT(t)
	f := newFabric(t, nil, lan(2))
	a, b := connect(t, f, "a", "lan"), connect(t, f, "b", "lan")
	at, bt := new(logTap), new(logTap)
	a.link.setTap(at)
	b.link.setTap(bt)
	a.send(arpRequest(a.host, addr4(20, 2)))
	a.recv()
	a.send(ether(broadcast, a.mac(), testType, "seen"))
	b.recv()
	g.Expect(f.Block("a", "b")).To(Succeed())
	a.send(ether(broadcast, a.mac(), testType, "blocked"))
	b.silent()
	g.Expect(at.list()).To(Equal([]string{"egress seen", "egress blocked"}), "the control path is not seen")
	g.Expect(bt.list()).To(Equal([]string{"ingress seen"}))
	a.link.setTap(nil)
	a.send(ether(broadcast, a.mac(), testType, "unseen"))
	b.silent()
	g.Expect(at.list()).To(HaveLen(2))
}
