package nat

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

// punches is what theory says of hole punching between two hosts that learn each other's mapping from a public server
// (RFC 5128, section 3.3): it fails where one side's port cannot be foretold and the other side insists on it.
func punches(a, b string) bool {
	hard := func(name string) bool { return name == "symmetric" || name == "port-restricted-cone" }
	return (a != "symmetric" || !hard(b)) && (b != "symmetric" || !hard(a))
}

// party is a host behind a chain of NATs, innermost first.
type party struct {
	host  string
	chain []*site
}

// send carries a packet out of all of the party's NATs, then into the other's. Where both are behind the same outermost
// NAT, it turns back there.
func (p party) send(to party, b []byte) []byte {
	for i, s := range p.chain {
		if len(to.chain) > 0 && s == to.chain[len(to.chain)-1] && i == len(p.chain)-1 {
			if b = s.take(s.Hairpin, b, TurnBack); b == nil {
				return nil
			}
			return to.receive(b, len(to.chain)-2)
		}
		if b = s.take(s.Outbound, b, Pass); b == nil {
			return nil
		}
	}
	return to.receive(b, len(to.chain)-1)
}

func (p party) receive(b []byte, from int) []byte {
	for i := from; i >= 0; i-- {
		if b = p.chain[i].take(p.chain[i].Inbound, b, Pass); b == nil {
			return nil
		}
	}
	return b
}

// learn is the party's mapping as a public server sees it.
func (p party) learn(proto Protocol) string {
	b := p.send(party{}, build(segment{proto: proto, src: p.host, dst: server + ":3478", flags: flagSYN}))
	return srcOf(b)
}

// punch makes both parties send to the mapping that the server saw, again to the source of what arrives, three times over.
// It tells whether each has then heard an answer to what it sent.
func punch(proto Protocol, a, b party) bool {
	target := map[string]string{a.host: b.learn(proto), b.host: a.learn(proto)}
	answered := map[string]bool{}
	for range 3 {
		for _, pair := range [][2]party{{a, b}, {b, a}} {
			from, to := pair[0], pair[1]
			arrived := from.send(to, build(segment{proto: proto, src: from.host, dst: target[from.host], flags: flagSYN}))
			if arrived == nil {
				continue
			}
			target[to.host] = srcOf(arrived)
			reply := to.send(from, build(segment{proto: proto, src: to.host, dst: srcOf(arrived), flags: flagSYN | flagACK}))
			answered[from.host] = answered[from.host] || reply != nil
		}
	}
	return answered[a.host] || answered[b.host]
}

func TestHolePunchingIsAsTheorySays(t *testing.T) {
	types := Presets()[1:]
	for _, proto := range []Protocol{UDP, TCP} {
		for _, left := range types {
			for _, right := range types {
				t.Run(fmt.Sprintf("%s %s with %s", proto, left, right), func(t *testing.T) {
					a, _ := Preset(left)
					b, _ := Preset(right)
					got := punch(proto,
						party{"192.168.1.10:5000", []*site{newSite(t, a, "203.0.113.1")}},
						party{"192.168.2.10:5000", []*site{newSite(t, b, "203.0.113.2")}})
					NewWithT(t).Expect(got).To(Equal(punches(left, right)))
				})
			}
		}
	}
}

func TestWithoutPunchingOnlyAFullConeIsReached(t *testing.T) {
	for _, name := range Presets()[1:] {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cfg, _ := Preset(name)
			a := party{"192.168.1.10:5000", []*site{newSite(t, cfg, wan)}}
			mapped := a.learn(UDP)
			arrived := party{}.send(a, build(segment{proto: UDP, src: other + ":1", dst: mapped}))
			g.Expect(arrived != nil).To(Equal(name == "full-cone"))
		})
	}
}

// TestTwoInARow has the carrier's NAT in front of the home's: the pair is as strict as the stricter of the two.
func TestTwoInARow(t *testing.T) {
	for _, inner := range Presets()[1:] {
		for _, outer := range Presets()[1:] {
			t.Run(inner+" behind "+outer, func(t *testing.T) {
				g := NewWithT(t)
				i, _ := Preset(inner)
				o, _ := Preset(outer)
				a := party{"192.168.1.10:5000", []*site{newSite(t, i, "100.64.0.10"), newSite(t, o, wan)}}
				mapped := a.learn(UDP)
				g.Expect(mapped).To(HavePrefix(wan + ":"))
				reaches := func(from string) bool {
					b := a.receive(build(segment{proto: UDP, src: from, dst: mapped}), 1)
					g.Expect(b == nil || dstOf(b) == a.host).To(BeTrue())
					return b != nil
				}
				strictest := max(i.Filtering, o.Filtering)
				g.Expect(reaches(server + ":3478")).To(BeTrue())
				g.Expect(reaches(server + ":1")).To(Equal(strictest < AddressAndPortDependent))
				g.Expect(reaches(other + ":3478")).To(Equal(strictest == EndpointIndependent))
			})
		}
	}
}

// TestNeighboursBehindACarrierMeetByHairpin has two homes behind one carrier's NAT.
func TestNeighboursBehindACarrierMeetByHairpin(t *testing.T) {
	g := NewWithT(t)
	for _, hairpin := range []bool{true, false} {
		home, _ := Preset("port-restricted-cone")
		outer := home
		outer.Hairpin = hairpin
		carrier := newSite(t, outer, wan)
		a := party{"192.168.1.10:5000", []*site{newSite(t, home, "100.64.0.10"), carrier}}
		b := party{"192.168.2.10:5000", []*site{newSite(t, home, "100.64.0.11"), carrier}}
		g.Expect(punch(UDP, a, b)).To(Equal(hairpin), "UDP with hairpin %t", hairpin)
		g.Expect(punch(TCP, a, b)).To(Equal(hairpin), "TCP with hairpin %t", hairpin)
	}
}
