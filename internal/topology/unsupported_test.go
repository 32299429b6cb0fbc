package topology_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

func TestUnsupported(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"nothing": {"nodes: [{name: a}]", ""},
		"conditions that change nothing": {
			"network: {name: lan, subnet: 10.1.0.0/24, preset: localhost}\nnodes: [{name: a, network_conditions: {latency_ms: 0}}]", "",
		},
		"each place once, in order": {
			`networks:
  - {name: a, subnet: 10.1.0.0/24, preset: campus}
  - {name: b, subnet: 10.2.0.0/24, conditions: {egress: {corrupt_percent: 1}}}
routers:
  - {name: gw, inside: a, outside: b}
captures: [{network: a}]
nodes:
  - {name: n, count: 2, networks: [{name: a, conditions: {jitter_ms: 1}}], network_conditions: {latency_ms: 1}}
`,
			`/lab/test.yaml:2:36: networks[0].preset: impairments are not supported yet; remove it to start the lab with perfect links
/lab/test.yaml:3:36: networks[1].conditions: impairments are not supported yet; remove it to start the lab with perfect links
/lab/test.yaml:5:5: routers[0]: routers are not supported yet; remove the router; a node on both networks can forward meanwhile
/lab/test.yaml:6:12: captures[0]: captures are not supported yet; remove it; tcpdump in a node can capture meanwhile
/lab/test.yaml:8:46: nodes[0].networks[0].conditions: impairments are not supported yet; remove it to start the lab with perfect links
/lab/test.yaml:8:76: nodes[0].network_conditions: impairments are not supported yet; remove it to start the lab with perfect links`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := parse(g, c.yaml).Unsupported()
			if c.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(c.want))
		})
	}
}

// TestUnsupportedInSeeds shows that the users' own files say what is not there yet.
func TestUnsupportedInSeeds(t *testing.T) {
	g := NewWithT(t)
	seed, err := topology.Load("testdata/good/seed-definition.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seed.Unsupported()).To(MatchError(
		"testdata/good/seed-definition.yaml:19:5: nodes[0].network_conditions: impairments are not supported yet; " +
			"remove it to start the lab with perfect links"))
	seed, err = topology.Load("testdata/good/seed-rustdesk.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seed.Unsupported()).To(MatchError(ContainSubstring("nodes[0].network_conditions: impairments are not supported yet")))
}
