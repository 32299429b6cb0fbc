package nat

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestMappingsAreRestoredAsTheyWere(t *testing.T) {
	for _, mapping := range behaviors() {
		for _, filtering := range behaviors() {
			cfg := Config{
				Mapping: mapping, Filtering: filtering, Ports: Random,
				Forwards: []Forward{{TCP, 8022, netip.MustParseAddrPort(host + ":22")}},
			}
			t.Run(cfg.Name(), func(t *testing.T) {
				g := NewWithT(t)
				s := newSite(t, cfg, wan)
				mapped := s.udp(host+":5000", server+":1")
				s.admits(server+":2", mapped)
				b := s.out(segment{proto: TCP, src: host + ":5000", dst: server + ":80", flags: flagSYN})
				s.in(segment{proto: TCP, src: server + ":80", dst: srcOf(b), flags: flagSYN | flagACK})
				s.out(segment{proto: TCP, src: host + ":5000", dst: server + ":80", flags: flagACK})
				s.out(segment{proto: TCP, src: host + ":5001", dst: server + ":80", flags: flagSYN})
				s.in(segment{proto: TCP, src: other + ":9", dst: wan + ":8022", flags: flagSYN})
				saved := s.now
				text, err := json.Marshal(s.Mappings(saved))
				g.Expect(err).NotTo(HaveOccurred())
				var list []Mapping
				g.Expect(json.Unmarshal(text, &list)).To(Succeed())
				g.Expect(list).To(HaveLen(4))

				// An hour and a few other flows later.
				s.now = s.now.Add(time.Hour)
				s.udp("192.168.1.11:5000", server+":1")
				g.Expect(s.Restore(list, saved, s.now)).To(Equal(4))
				again := s.Mappings(s.now)
				g.Expect(again).To(HaveLen(4))
				for i := range again {
					if !again[i].Static {
						again[i].Expires = again[i].Expires.Add(-time.Hour)
					}
					for j := range again[i].Peers {
						again[i].Peers[j].Expires = again[i].Peers[j].Expires.Add(-time.Hour)
					}
				}
				g.Expect(again).To(Equal(list))
				g.Expect(s.udp(host+":5000", server+":1")).To(Equal(mapped))
				g.Expect(s.admits(server+":1", mapped)).To(BeTrue())
				g.Expect(s.admits(other+":1", mapped)).To(Equal(filtering == EndpointIndependent))
			})
		}
	}
}

func TestRestoreLeavesOutWhatDoesNotFit(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, MaxPerHost: 1}, wan)
	good := Mapping{
		Protocol: UDP, Inside: netip.MustParseAddrPort(host + ":1"), Outside: netip.MustParseAddrPort(wan + ":1"), Expires: s.now.Add(time.Minute),
		Peers: []Peer{{Addr: netip.MustParseAddrPort(server + ":1"), Asked: true, Expires: s.now.Add(time.Minute)}},
	}
	more, elsewhere, late, static, narrow := good, good, good, good, good
	more.Outside = netip.MustParseAddrPort(wan + ":2")
	elsewhere.Outside = netip.MustParseAddrPort("203.0.113.99:1")
	late.Expires = s.now
	static.Static = true
	narrow.Peer = netip.MustParseAddrPort(server + ":1")
	g.Expect(s.Restore([]Mapping{elsewhere, late, static, narrow, {}}, s.now, s.now)).To(BeZero())
	g.Expect(s.Restore([]Mapping{good, good, more}, s.now, s.now)).To(Equal(1))
	g.Expect(s.admits(server+":1", wan+":1")).To(BeTrue())
	g.Expect(s.Restore(nil, s.now, s.now)).To(BeZero())
	g.Expect(s.Mappings(s.now)).To(BeEmpty())
}
