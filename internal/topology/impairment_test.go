package topology_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// TestMergeOfLossAndQueue shows that of loss and bursts, and of the two bounds of the queue, the last word holds.
func TestMergeOfLossAndQueue(t *testing.T) {
	both := func(i impairment) topology.Conditions { return topology.Conditions{Egress: i, Ingress: i} }
	bursts := topology.GilbertElliott{EnterPercent: 1, LeavePercent: 20, LossBadPercent: 100}
	const said = "packet_loss_bursts: {enter_percent: 1, leave_percent: 20}"
	for name, c := range map[string]mergeCase{
		"bursts, all lost in them": {node: said, want: both(impairment{Bursts: bursts})},
		"bursts over loss":         {network: "conditions: {packet_loss_percent: 5}", node: said, want: both(impairment{Bursts: bursts})},
		"loss over bursts":         {network: "conditions: {" + said + "}", node: "packet_loss_percent: 5", want: both(impairment{LossPercent: 5})},
		"no loss over bursts":      {node: said, link: "packet_loss_percent: 0", want: topology.Conditions{}},
		"a preset over bursts":     {node: said, link: "preset: localhost", want: topology.Conditions{}},
		"bursts over the preset beside them": {
			link: "preset: broadband, " + said,
			want: both(impairment{Delay: 20 * time.Millisecond, Bursts: bursts, RateKbps: 100_000}),
		},
		"bursts replace bursts as a whole": {
			node: said, link: "packet_loss_bursts: {enter_percent: 2, leave_percent: 50, good_percent: 1, bad_percent: 0}",
			want: both(impairment{Bursts: topology.GilbertElliott{EnterPercent: 2, LeavePercent: 50, LossGoodPercent: 1}}),
		},
		"one direction of each": {
			node: said + ", egress: {packet_loss_percent: 3}",
			want: topology.Conditions{Egress: impairment{LossPercent: 3}, Ingress: impairment{Bursts: bursts}},
		},
		"bytes over time": {
			node: "bandwidth_kbps: 100, queue_ms: 5", link: "queue_bytes: 2000", want: both(impairment{RateKbps: 100, QueueBytes: 2000}),
		},
		"time over bytes": {
			node: "bandwidth_kbps: 100, queue_bytes: 2000", link: "queue_ms: 0.5",
			want: both(impairment{RateKbps: 100, QueueTime: 500 * time.Microsecond}),
		},
		"back to the usual queue": {node: "bandwidth_kbps: 100, queue_bytes: 2000", link: "queue_ms: 0", want: both(impairment{RateKbps: 100})},
		"a preset leaves queue and distribution": {
			node: "queue_ms: 5, jitter_distribution: normal", link: "preset: mobile_cell",
			want: both(impairment{
				Delay: 100 * time.Millisecond, Jitter: 30 * time.Millisecond, Distribution: topology.Normal, LossPercent: 2,
				RateKbps: 10_000, QueueTime: 5 * time.Millisecond,
			}),
		},
		"back to uniform": {
			node: "jitter_ms: 1, jitter_distribution: normal", link: "jitter_distribution: uniform",
			want: both(impairment{Jitter: time.Millisecond}),
		},
	} {
		t.Run(name, c.run)
	}
}

func TestImpairmentIsZero(t *testing.T) {
	g := NewWithT(t)
	for _, nothing := range []impairment{{}, {Distribution: topology.Normal}, {QueueBytes: 3000}, {QueueTime: time.Second}} {
		g.Expect(nothing.IsZero()).To(BeTrue(), "%+v", nothing)
	}
	for _, something := range []impairment{
		{Delay: 1},
		{Jitter: 1},
		{LossPercent: 1},
		{RateKbps: 1},
		{ReorderPercent: 1},
		{DuplicatePercent: 1},
		{CorruptPercent: 1},
		{Bursts: topology.GilbertElliott{EnterPercent: 1}},
	} {
		g.Expect(something.IsZero()).To(BeFalse(), "%+v", something)
		g.Expect(topology.Conditions{Ingress: something}.IsZero()).To(BeFalse())
	}
}

func TestDistributionWords(t *testing.T) {
	g := NewWithT(t)
	g.Expect(topology.Uniform.String()).To(Equal("uniform"))
	g.Expect(topology.Normal.String()).To(Equal("normal"))
	g.Expect(topology.Distribution(7).String()).To(Equal("distribution 7"))
}
