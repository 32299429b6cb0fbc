package lab

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/artifact"
	"ionlab/internal/fabric"
)

func TestNetStateForAPerson(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	state := NetState{
		Seed: 42,
		Links: []LinkState{
			{
				Owner: "alice", Network: "wan", Up: true, Egress: "delay 5ms", Ingress: "delay 5ms", Measured: []string{"alice@wan: as asked"},
				Sent: fabric.Traffic{Frames: 3, Bytes: 300}, Received: fabric.Traffic{Frames: 2, Bytes: 200},
				Dropped: map[string]uint64{"lost": 7, "link down": 1}, Duplicated: 2, Reordered: 3, Corrupted: 4,
			},
			{Owner: "bob", Network: "wan", Egress: "none", Ingress: "none", Planned: "delay 5ms"},
		},
		Cuts: [][2]string{{"alice", "bob"}},
		Routers: []RouterState{{
			Name: "gw", Inside: "lan 10.0.0.2", Outside: "wan 10.1.0.2", NAT: "symmetric", Firewall: "none",
			Mappings: []string{"udp a as b"}, Counters: "forwarded 5",
		}},
	}
	var out strings.Builder
	g.Expect(state.Write(&out)).To(Succeed())
	g.Expect(out.String()).To(Equal(`impairment seed 42

LINK       STATE      TOPOLOGY   SENT                 RECEIVED             DROPPED              OTHERWISE
alice@wan  delay 5ms  -          3 frames, 300 bytes  2 frames, 200 bytes  1 link down, 7 lost  2 duplicated, 3 reordered, 4 corrupted
bob@wan    down       delay 5ms  0 frames, 0 bytes    0 frames, 0 bytes    -                    -

measured: alice@wan: as asked

partitions:
  nothing of alice reaches bob

router gw: inside lan 10.0.0.2, outside wan 10.1.0.2, NAT symmetric, firewall none
  forwarded 5
  1 mappings
    udp a as b
`))
	g.Expect(packets(fabric.RouterCounters{Forwarded: 1, Fragmented: 2, Answered: 3, Errors: 4, Dropped: map[string]uint64{"firewall": 5, "expired": 6}})).
		To(Equal("1 packets forwarded, 2 in fragments, 3 answered, 4 ICMP errors sent; dropped: 5 firewall, 6 expired"))
	g.Expect(state.Links[0].IsImpaired()).To(BeTrue())
	g.Expect(LinkState{Up: true, Egress: "none", Ingress: "none"}.IsImpaired()).To(BeFalse())
	g.Expect(LinkState{Egress: "none", Ingress: "none"}.IsImpaired()).To(BeTrue())
}

func TestOtherProcessesSeeTheNetworks(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBench(t, sites, func(c *Config) { c.SkipMeasuring = true })
	b.up()
	g.Expect(b.link("bob", "wan").Down(nil)).To(Succeed())
	g.Expect(b.PartitionOneWay([]string{"alice"}, []string{"bob"}, nil)).To(Succeed())
	found, err := FindOne(b.cfg.Dirs, b.ID())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found.Nodes()).To(Equal([]string{"alice", "bob"}), "the door of the networks is nobody's node")
	seen, err := found.NetState(within(t))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seen.Seed).To(Equal(b.Seed()))
	g.Expect(seen.Cuts).To(Equal([][2]string{{"alice", "bob"}}))
	g.Expect(seen.Links).To(HaveLen(3))
	g.Expect(seen.Links[2].String()).To(Equal("down; delay 5ms"))
	g.Expect(seen.Links[2].Planned).To(BeEmpty())
	g.Expect(b.Close()).To(Succeed())
	_, err = found.NetState(within(t))
	g.Expect(err).To(MatchError(os.ErrNotExist))
	g.Expect(err).To(MatchError(HavePrefix("look at the networks of lab " + found.ID)))
}

func TestEvidenceHasTheNetworks(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := wiredBench(t, sites, nil)
	b.Comment("what happened last")
	g.Expect(b.Impair(b.Links(), Impairment{LossPercent: 12}, nil)).To(Succeed())
	dir, err := artifact.Create(t.TempDir(), "sites", "spec")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Collect(within(t), dir, time.Time{})).To(Succeed())
	g.Expect(read(t, dir, "links.txt")).To(And(ContainSubstring("delay 5ms, loss 12 %"), MatchRegexp(`impairment seed \d+`)))
	for _, name := range []string{"networks/wan.pcapng", "networks/lan.pcapng"} {
		g.Expect(read(t, dir, name)).To(HavePrefix("\x0a\x0d\x0d\x0a"), "a section header of pcapng")
		g.Expect(read(t, dir, name)).To(ContainSubstring("what happened last"))
	}
}

// keptFile is where a capture goes.
type keptFile struct {
	bytes.Buffer
	closed bool
}

func (f *keptFile) Close() error { f.closed = true; return nil }

func TestTopologyWantsACapture(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	files := map[string]*keptFile{}
	b := newBench(t, "captures: [{network: wan}]\n"+sites, func(c *Config) {
		c.SkipMeasuring = true
		c.Capture = func(network string) (io.WriteCloser, error) {
			files[network] = &keptFile{}
			return files[network], nil
		}
	})
	b.up()
	g.Expect(b.Close()).To(Succeed())
	g.Expect(files).To(HaveLen(1))
	g.Expect(files["wan"].closed).To(BeTrue())
	g.Expect(files["wan"].String()).To(And(HavePrefix("\x0a\x0d\x0d\x0a"), ContainSubstring("alice@wan"), ContainSubstring("lab ")))
}
