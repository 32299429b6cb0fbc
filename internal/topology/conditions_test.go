package topology_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

type impairment = topology.Impairment

// mergeCase is what three places of a file say about one link, and what comes of it.
type mergeCase struct {
	network, node, link string
	want                topology.Conditions
}

func (c mergeCase) run(t *testing.T) {
	g := NewWithT(t)
	network := "{name: lan, subnet: 10.1.0.0/24}"
	if c.network != "" {
		network = "{name: lan, subnet: 10.1.0.0/24, " + c.network + "}"
	}
	parsed := parse(g, "network: "+network+"\nnodes:\n  - name: a\n    network_conditions: {"+c.node+"}\n"+
		"    networks: [{name: lan, conditions: {"+c.link+"}}]\n")
	g.Expect(parsed.Nodes[0].Links[0].Conditions).To(Equal(c.want))
	g.Expect(parsed.Nodes[0].Links[0].Conditions.IsZero()).To(Equal(c.want == topology.Conditions{}))
}

// TestMergeOfConditions follows the order preset, network, node, link, field by field.
func TestMergeOfConditions(t *testing.T) {
	both := func(i impairment) topology.Conditions { return topology.Conditions{Egress: i, Ingress: i} }
	broadband := impairment{Delay: 20 * time.Millisecond, LossPercent: 0.1, RateKbps: 100_000}
	for name, c := range map[string]mergeCase{
		"nothing":                {want: topology.Conditions{}},
		"preset of the network":  {network: "preset: broadband", want: both(broadband)},
		"preset and its figures": {network: "preset: broadband, conditions: {latency_ms: 20}", want: both(broadband)},
		"a figure over the network's preset": {
			network: "preset: broadband, conditions: {packet_loss_percent: 0}",
			want:    both(impairment{Delay: 20 * time.Millisecond, RateKbps: 100_000}),
		},
		"preset inside conditions": {network: "conditions: {preset: broadband}", want: both(broadband)},
		"the node over the network, field by field": {
			network: "conditions: {latency_ms: 5, jitter_ms: 1}", node: "latency_ms: 7.5",
			want: both(impairment{Delay: 7500 * time.Microsecond, Jitter: time.Millisecond}),
		},
		"the link over the node": {
			network: "conditions: {latency_ms: 5}", node: "latency_ms: 7, corrupt_percent: 1", link: "latency_ms: 9",
			want: both(impairment{Delay: 9 * time.Millisecond, CorruptPercent: 1}),
		},
		"a preset takes all four figures it knows, and no others": {
			network: "conditions: {jitter_ms: 9, reorder_percent: 4, bandwidth_kbps: 7}", node: "preset: broadband",
			want: both(impairment{
				Delay: 20 * time.Millisecond, LossPercent: 0.1, RateKbps: 100_000, ReorderPercent: 4,
			}),
		},
		"back to a perfect link": {network: "preset: satellite", node: "preset: localhost", want: topology.Conditions{}},
		"zero is a figure too": {
			network: "preset: broadband", link: "bandwidth_kbps: 0, latency_ms: 0",
			want: both(impairment{LossPercent: 0.1}),
		},
	} {
		t.Run(name, c.run)
	}
}

// TestMergeForOneDirection shows that egress and ingress speak after both.
func TestMergeForOneDirection(t *testing.T) {
	for name, c := range map[string]mergeCase{
		"one direction": {
			node: "latency_ms: 10, egress: {latency_ms: 30, duplicate_percent: 2}",
			want: topology.Conditions{
				Egress:  impairment{Delay: 30 * time.Millisecond, DuplicatePercent: 2},
				Ingress: impairment{Delay: 10 * time.Millisecond},
			},
		},
		"a preset for one direction": {
			link: "ingress: {preset: broadband, jitter_ms: 0.001}",
			want: topology.Conditions{Ingress: impairment{
				Delay: 20 * time.Millisecond, Jitter: time.Microsecond, LossPercent: 0.1, RateKbps: 100_000,
			}},
		},
		"both directions of the link over one of the network": {
			network: "conditions: {egress: {latency_ms: 30}}", link: "latency_ms: 1",
			want: topology.Conditions{
				Egress:  impairment{Delay: time.Millisecond},
				Ingress: impairment{Delay: time.Millisecond},
			},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestNodeConditionsHoldForAllLinks(t *testing.T) {
	g := NewWithT(t)
	parsed := parse(g, `
networks: [{name: a, subnet: 10.1.0.0/24}, {name: b, subnet: 10.2.0.0/24, conditions: {latency_ms: 3}}]
nodes: [{name: n, networks: [a, b], network_conditions: {jitter_ms: 1}}]`)
	g.Expect(parsed.Nodes[0].Links[0].Conditions.Egress).To(Equal(topology.Impairment{Jitter: time.Millisecond}))
	g.Expect(parsed.Nodes[0].Links[1].Conditions.Ingress).To(Equal(
		topology.Impairment{Delay: 3 * time.Millisecond, Jitter: time.Millisecond}))
	g.Expect(parsed.Networks[1].Conditions.Egress).To(Equal(topology.Impairment{Delay: 3 * time.Millisecond}))
}

// TestPresets holds the table against the figures of seed-lessons 1.4.
func TestPresets(t *testing.T) {
	g := NewWithT(t)
	want := map[string][4]float64{
		"basement_lan": {0.5, 0.1, 0, 10_000_000}, "home_lan": {2, 1, 0.01, 1_000_000}, "campus": {5, 0, 0.01, 500_000},
		"broadband": {20, 0, 0.1, 100_000}, "friend_wan": {50, 10, 0.5, 100_000}, "cellular": {100, 0, 2, 50_000},
		"mobile_cell": {100, 30, 2, 10_000}, "satellite": {600, 50, 5, 5_000}, "deep_space": {2000, 200, 10, 1_000},
		"urban_congested": {150, 80, 15, 2_000}, "intermittent": {500, 300, 50, 500}, "localhost": {},
	}
	got := map[string][4]float64{}
	for _, p := range topology.Presets() {
		i := p.Impairment
		got[p.Name] = [4]float64{
			float64(i.Delay) / float64(time.Millisecond), float64(i.Jitter) / float64(time.Millisecond),
			i.LossPercent, i.RateKbps,
		}
		g.Expect(i.ReorderPercent + i.DuplicatePercent + i.CorruptPercent).To(BeZero())
	}
	g.Expect(got).To(Equal(want))
}
