package nat

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestOnlyTheInsideRefreshesUDP(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Random}, wan)
	mapped := s.udp(host+":5000", server+":1")
	s.now = s.now.Add(DefaultUDPTimeout - 1)
	g.Expect(s.admits(other+":9", mapped)).To(BeTrue(), "just before the end")
	g.Expect(s.udp(host+":5000", server+":1")).To(Equal(mapped))
	s.now = s.now.Add(DefaultUDPTimeout - 1)
	g.Expect(s.admits(other+":9", mapped)).To(BeTrue(), "refreshed from inside")
	s.now = s.now.Add(1)
	g.Expect(s.admits(other+":9", mapped)).To(BeFalse(), "packets from outside have not refreshed it")
	g.Expect(s.Mappings(s.now)).To(BeEmpty())
	g.Expect(s.udp(host+":5000", server+":1")).NotTo(Equal(mapped), "a new mapping")
}

func TestAFilterEndsForEachPeerByItself(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: AddressDependent, UDPTimeout: time.Minute}, wan)
	mapped := s.udp(host+":5000", server+":1")
	s.now = s.now.Add(40 * time.Second)
	s.udp(host+":5000", other+":1")
	s.now = s.now.Add(40 * time.Second)
	g.Expect(s.admits(server+":1", mapped)).To(BeFalse())
	g.Expect(s.admits(other+":2", mapped)).To(BeTrue())
}

func TestTCPSessionsLastAsLongAsTheirStateSays(t *testing.T) {
	const in, out = false, true
	type step struct {
		outbound bool
		flags    byte
	}
	opened := []step{{out, flagSYN}, {in, flagSYN | flagACK}, {out, flagACK}}
	more := func(steps ...step) []step { return append(opened[:3:3], steps...) }
	for name, test := range map[string]struct {
		steps []step
		want  time.Duration
		state string
	}{
		"a SYN from inside":        {opened[:1], DefaultTransitoryTimeout, "opening"},
		"answered":                 {opened[:2], DefaultTransitoryTimeout, "opening"},
		"established":              {opened, DefaultTCPTimeout, "established"},
		"data from outside":        {more(step{in, flagACK}), DefaultTCPTimeout, "established"},
		"closed by one side":       {more(step{out, flagFIN | flagACK}, step{in, flagACK}), DefaultTCPTimeout, "established"},
		"closed by both":           {more(step{out, flagFIN | flagACK}, step{in, flagFIN | flagACK}), DefaultTransitoryTimeout, "closing"},
		"and the last ACK":         {more(step{out, flagFIN | flagACK}, step{in, flagFIN | flagACK}, step{out, flagACK}), DefaultTransitoryTimeout, "closing"},
		"reset from inside":        {more(step{out, flagRST}), DefaultTransitoryTimeout, "closing"},
		"reset from outside":       {more(step{in, flagRST}), DefaultTransitoryTimeout, "closing"},
		"refused":                  {[]step{{out, flagSYN}, {in, flagRST | flagACK}}, DefaultTransitoryTimeout, "closing"},
		"opened again":             {more(step{in, flagRST}, step{out, flagSYN}), DefaultTransitoryTimeout, "opening"},
		"simultaneous open":        {[]step{{out, flagSYN}, {in, flagSYN}, {out, flagSYN | flagACK}, {in, flagSYN | flagACK}, {out, flagACK}}, DefaultTCPTimeout, "established"},
		"picked up in the middle":  {[]step{{out, flagACK}, {in, flagACK}}, DefaultTCPTimeout, "established"},
		"one side in the middle":   {[]step{{out, flagACK}}, DefaultTransitoryTimeout, "opening"},
		"a SYN answered by a SYN":  {[]step{{out, flagSYN}, {in, flagSYN}}, DefaultTransitoryTimeout, "opening"},
		"a SYN that is sent again": {[]step{{out, flagSYN}, {out, flagSYN}}, DefaultTransitoryTimeout, "opening"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newSite(t, Config{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent}, wan)
			for _, step := range test.steps {
				s.now = s.now.Add(time.Second)
				p := segment{proto: TCP, src: server + ":80", dst: wan + ":5000", flags: step.flags}
				take := s.in
				if step.outbound {
					p.src, p.dst = host+":5000", server+":80"
					take = s.out
				}
				g.Expect(take(p)).NotTo(BeNil())
			}
			m := s.Mappings(s.now)
			g.Expect(m).To(HaveLen(1))
			g.Expect(m[0].Expires).To(Equal(s.now.Add(test.want)))
			g.Expect(m[0].Peers).To(HaveLen(1))
			g.Expect(m[0].Peers[0].State).To(Equal(test.state))
			g.Expect(s.Mappings(s.now.Add(test.want))).To(BeEmpty())
		})
	}
}

func TestAMappingLastsAsLongAsItsLongestSession(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: AddressDependent}, wan)
	open := func(peer string) {
		s.out(segment{proto: TCP, src: host + ":5000", dst: peer, flags: flagSYN})
		s.in(segment{proto: TCP, src: peer, dst: wan + ":5000", flags: flagSYN | flagACK})
		s.out(segment{proto: TCP, src: host + ":5000", dst: peer, flags: flagACK})
	}
	open(server + ":80")
	s.now = s.now.Add(time.Minute)
	open(other + ":80")
	g.Expect(s.Mappings(s.now)[0].Expires).To(Equal(s.now.Add(DefaultTCPTimeout)))
	s.out(segment{proto: TCP, src: host + ":5000", dst: other + ":80", flags: flagRST})
	g.Expect(s.Mappings(s.now)[0].Expires).To(Equal(s.now.Add(DefaultTCPTimeout-time.Minute)), "that of the first session")
	s.in(segment{proto: TCP, src: server + ":80", dst: wan + ":5000", flags: flagACK})
	g.Expect(s.Mappings(s.now)[0].Expires).To(Equal(s.now.Add(DefaultTCPTimeout)), "either side keeps a connection")
}

func TestConnectionsOfTheOutsideKeepNoMapping(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}, wan)
	s.out(segment{proto: TCP, src: host + ":5000", dst: server + ":80", flags: flagSYN})
	s.now = s.now.Add(DefaultTransitoryTimeout - 1)
	g.Expect(s.in(segment{proto: TCP, src: other + ":1", dst: wan + ":5000", flags: flagSYN})).NotTo(BeNil())
	s.now = s.now.Add(1)
	g.Expect(s.in(segment{proto: TCP, src: other + ":1", dst: wan + ":5000", flags: flagSYN})).To(BeNil())
}

func TestASYNIsLetInOnceTheInsideHasSentItsOwn(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent}, wan)
	s.out(segment{proto: TCP, src: host + ":5000", dst: server + ":80", flags: flagSYN})
	syn := segment{proto: TCP, src: other + ":7000", dst: wan + ":5000", flags: flagSYN}
	g.Expect(s.Inbound(build(syn), s.now)).To(Equal(Verdict{Drop, Filtered}), "no answer that would end the other's attempt")
	s.out(segment{proto: TCP, src: host + ":5000", dst: other + ":7000", flags: flagSYN})
	g.Expect(s.in(syn)).NotTo(BeNil())
}

func TestResetsOpenNothing(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t, Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}, wan)
	g.Expect(s.Outbound(build(segment{proto: TCP, src: host + ":1", dst: server + ":1", flags: flagRST}), s.now)).To(Equal(Verdict{Drop, NoSession}))
	g.Expect(s.Mappings(s.now)).To(BeEmpty())
	s.out(segment{proto: TCP, src: host + ":5000", dst: server + ":80", flags: flagSYN})
	g.Expect(s.in(segment{proto: TCP, src: other + ":1", dst: wan + ":5000", flags: flagRST})).NotTo(BeNil())
	g.Expect(s.Mappings(s.now)[0].Peers).To(HaveLen(1))
}
