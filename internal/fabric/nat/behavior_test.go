package nat

import (
	"testing"

	. "github.com/onsi/gomega"
)

// TestEveryMappingWithEveryFiltering holds each of the nine combinations against RFC 4787, sections 4.1 and 5, with either
// choice of ports, for UDP and for TCP.
func TestEveryMappingWithEveryFiltering(t *testing.T) {
	for _, mapping := range behaviors() {
		for _, filtering := range behaviors() {
			for _, ports := range []Ports{Preserve, Random} {
				for _, proto := range []Protocol{UDP, TCP} {
					cfg := Config{Mapping: mapping, Filtering: filtering, Ports: ports}
					t.Run(cfg.Name()+" "+ports.String()+" "+proto.String(), func(t *testing.T) {
						s := newSite(t, cfg, wan)
						testMapping(s, proto)
						testFiltering(s, proto)
					})
				}
			}
		}
	}
}

func testMapping(s *site, proto Protocol) {
	g := NewWithT(s.t)
	seen := func(to string) string {
		b := s.out(segment{proto: proto, src: host + ":5000", dst: to, flags: flagSYN})
		g.Expect(b).NotTo(BeNil())
		g.Expect(dstOf(b)).To(Equal(to))
		return srcOf(b)
	}
	first := seen(server + ":3478")
	g.Expect(first).To(HavePrefix(wan + ":"))
	g.Expect(same(first, wan+":5000")).To(Equal(s.cfg.Ports == Preserve))
	g.Expect(seen(server+":3478")).To(Equal(first), "the same flow keeps its port")
	g.Expect(same(seen(server+":3479"), first)).To(Equal(s.cfg.Mapping != AddressAndPortDependent), "another port of the peer")
	g.Expect(same(seen(other+":3478"), first)).To(Equal(s.cfg.Mapping == EndpointIndependent), "another address")
}

func testFiltering(s *site, proto Protocol) {
	g := NewWithT(s.t)
	b := s.out(segment{proto: proto, src: host + ":6000", dst: server + ":3478", flags: flagSYN})
	mapped := srcOf(b)
	admits := func(from string) bool {
		b := s.in(segment{proto: proto, src: from, dst: mapped, flags: flagSYN | flagACK})
		if b == nil {
			return false
		}
		g.Expect(dstOf(b)).To(Equal(host + ":6000"))
		g.Expect(srcOf(b)).To(Equal(from))
		reply := s.out(segment{proto: proto, src: host + ":6000", dst: from, flags: flagACK})
		g.Expect(srcOf(reply)).To(Equal(mapped), "the answer comes from where the question went")
		return true
	}
	g.Expect(admits(server+":3478")).To(BeTrue(), "the peer itself")
	g.Expect(admits(server+":3479")).To(Equal(s.cfg.Filtering != AddressAndPortDependent), "another port of the peer")
	g.Expect(admits(other+":3478")).To(Equal(s.cfg.Filtering == EndpointIndependent), "another address")
	g.Expect(s.in(segment{proto: proto, src: server + ":3478", dst: wan + ":7", flags: flagSYN})).To(BeNil(), "no mapping")
}

func TestPresetsAreThoseOfRFC3489(t *testing.T) {
	g := NewWithT(t)
	want := map[string][2]Behavior{
		"none":                 {NoMapping, NoMapping},
		"full-cone":            {EndpointIndependent, EndpointIndependent},
		"restricted-cone":      {EndpointIndependent, AddressDependent},
		"port-restricted-cone": {EndpointIndependent, AddressAndPortDependent},
		"symmetric":            {AddressAndPortDependent, AddressAndPortDependent},
	}
	g.Expect(Presets()).To(HaveLen(len(want)))
	for name, behaviors := range want {
		c, err := Preset(name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect([2]Behavior{c.Mapping, c.Filtering}).To(Equal(behaviors), name)
		g.Expect(c.Name()).To(Equal(name))
		g.Expect(c.Validate()).To(Succeed())
		g.Expect(c.Hairpin).To(Equal(name != "none"))
	}
	_, err := Preset("conical")
	g.Expect(err).To(MatchError(`no NAT type "conical"; there are: none, full-cone, restricted-cone, port-restricted-cone, symmetric`))
	g.Expect(Config{Mapping: AddressDependent, Filtering: EndpointIndependent}.Name()).To(Equal("address-dependent mapping, endpoint-independent filtering"))
}

func TestNamesAreReadAsTheyAreWritten(t *testing.T) {
	g := NewWithT(t)
	for _, b := range behaviors() {
		g.Expect(ParseBehavior(b.String())).To(Equal(b))
	}
	_, err := ParseBehavior("none")
	g.Expect(err).To(MatchError(`no behavior "none"; there are: endpoint-independent, address-dependent, address-and-port-dependent`))
	g.Expect([]string{Behavior(9).String(), Protocol(47).String(), Open.String(), DropInbound.String(), Preserve.String()}).
		To(Equal([]string{"behavior(9)", "protocol 47", "none", "drop-inbound", "preserve"}))
	for c := range Cause(Causes) {
		g.Expect(c.String()).NotTo(Equal("unknown"))
	}
	g.Expect(Cause(Causes).String()).To(Equal("unknown"))
}
