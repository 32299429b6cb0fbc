package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/lab"
	"ionlab/internal/virt"
)

func TestListWithoutLabs(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	g.Expect(s.run(t.Context(), "list")).To(Equal(result{0, "no lab runs\n", ""}))
	g.Expect(s.run(t.Context(), "list", "--json")).To(Equal(result{0, "[]\n", ""}))
}

// withTwoLabs has a lab that is up, and one that is starting.
func withTwoLabs(t *testing.T) *setting {
	t.Helper()
	s := newSetting(t)
	s.lab(t, "aa11bb", "alice", "bob")
	s.lab(t, "aacc22", "desk")
	s.leftover(t, "dead00", "ghost")
	domains := []virt.DomainInfo{
		domainOf(t, "aa11bb", "quickstart", "alice", "running", map[string]string{"wan": "192.0.2.7", "lan": "10.13.0.10"}),
		domainOf(t, "0ther0", "other", "mallory", "running", nil), // not this lab's, wherever it comes from
		{Name: "mine", State: "running", XML: "<domain><name>mine</name></domain>"},
	}
	s.app.domains = func(_ context.Context, dir string) ([]virt.DomainInfo, error) {
		if dir == filepath.Join(s.dirs.Run, "aa11bb", "v") {
			return domains, nil
		}
		return nil, nil
	}
	return s
}

func TestListAndStatusAskLibvirt(t *testing.T) {
	g := NewWithT(t)
	s := withTwoLabs(t)
	g.Expect(s.run(t.Context(), "list")).To(Equal(result{0, "" +
		"ID      TOPOLOGY    NODES      OWNER\n" +
		"aa11bb  quickstart  alice bob  a test\n" +
		"aacc22  -           desk       -\n", ""}))
	run := s.dirs.Run
	g.Expect(s.run(t.Context(), "status", "aa1")).To(Equal(result{0, "" +
		"lab         aa11bb\n" +
		"topology    quickstart\n" +
		"owner       a test\n" +
		"ssh_config  " + run + "/aa11bb/ssh_config\n" +
		"libvirt     qemu+unix:///session?socket=" + run + "/aa11bb/v/libvirt/libvirt-sock\n\n" +
		"NODE   STATE      ADDRESSES\n" +
		"alice  running    lan 10.13.0.10, wan 192.0.2.7\n" +
		"bob    no domain  -\n", ""}))
}

// Programs read these names: they may not change.
func TestJSONIsStable(t *testing.T) {
	g := NewWithT(t)
	s := withTwoLabs(t)
	got := s.run(t.Context(), "status", "quickstart", "--json")
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect(got.out).To(MatchJSON(`{
		"id": "aa11bb", "topology": "quickstart", "owner": "a test",
		"ssh_config": "` + s.dirs.Run + `/aa11bb/ssh_config",
		"libvirt": "qemu+unix:///session?socket=` + s.dirs.Run + `/aa11bb/v/libvirt/libvirt-sock",
		"nodes": [
			{"name": "alice", "state": "running", "addresses": {"lan": "10.13.0.10", "wan": "192.0.2.7"}},
			{"name": "bob", "state": "no domain", "addresses": {}}
		]}`))
	var all []json.RawMessage
	got = s.run(t.Context(), "list", "--json")
	g.Expect(json.Unmarshal([]byte(got.out), &all)).To(Succeed())
	g.Expect(all).To(HaveLen(2))
	g.Expect(all[1]).To(MatchJSON(`{
		"id": "aacc22", "topology": "", "owner": "",
		"ssh_config": "` + s.dirs.Run + `/aacc22/ssh_config",
		"libvirt": "qemu+unix:///session?socket=` + s.dirs.Run + `/aacc22/v/libvirt/libvirt-sock",
		"nodes": [{"name": "desk", "state": "no domain", "addresses": {}}]}`))
}

func TestStatusShowsWhatIsSpecialAboutTheNetworks(t *testing.T) {
	g := NewWithT(t)
	var out strings.Builder
	g.Expect(writeNetwork(&out, lab.NetState{Links: []lab.LinkState{{Owner: "bob", Network: "lan", Up: true, Egress: "none", Ingress: "none"}}})).To(Succeed())
	g.Expect(out.String()).To(BeEmpty(), "nothing is")
	g.Expect(writeNetwork(&out, lab.NetState{
		Seed: 42,
		Links: []lab.LinkState{
			{Owner: "alice", Network: "wan", Up: true, Egress: "delay 5ms", Ingress: "delay 5ms", Dropped: map[string]uint64{"lost": 3, "link down": 4}},
			{Owner: "bob", Network: "lan", Up: true, Egress: "none", Ingress: "none"},
			{Owner: "bob", Network: "wan", Egress: "none", Ingress: "loss 1 %"},
		},
		Cuts:    [][2]string{{"alice", "bob"}},
		Routers: []lab.RouterState{{Name: "gw", Inside: "lan 10.0.0.2", Outside: "wan 10.1.0.2", NAT: "symmetric", Firewall: "none", Mappings: []string{"a", "b"}}},
	})).To(Succeed())
	g.Expect(out.String()).To(Equal(`
impairment seed 42

LINK       STATE                                LOST
alice@wan  delay 5ms                            7
bob@wan    down; egress none; ingress loss 1 %  0

partition: nothing of alice reaches bob

ROUTER  INSIDE        OUTSIDE       NAT        FIREWALL  MAPPINGS
gw      lan 10.0.0.2  wan 10.1.0.2  symmetric  none      2
`))
}

func TestListShowsALabThatDoesNotAnswer(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	s.lab(t, "aa11bb", "alice")
	s.app.domains = func(context.Context, string) ([]virt.DomainInfo, error) { return nil, errors.New("it sulks") }
	g.Expect(s.run(t.Context(), "list").out).To(ContainSubstring("look at lab aa11bb: it sulks"))
	got := s.run(t.Context(), "status", "aa11bb")
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(Equal("labtest: look at lab aa11bb: it sulks\n"))
}

func TestFindMeansOneLab(t *testing.T) {
	for name, test := range map[string]struct{ word, id, says string }{
		"id":               {word: "aacc22", id: "aacc22"},
		"beginning":        {word: "aac", id: "aacc22"},
		"topology":         {word: "quickstart", id: "aa11bb"},
		"two beginnings":   {word: "aa", says: `"aa" means more than one lab; there are: aa11bb (quickstart), aacc22`},
		"dot with two":     {word: ".", says: `"." means more than one lab; there are: aa11bb (quickstart), aacc22`},
		"nothing":          {word: "", says: `no lab "" runs here; there are: aa11bb (quickstart), aacc22`},
		"unknown":          {word: "zz", says: `no lab "zz" runs here; there are: aa11bb (quickstart), aacc22`},
		"a dead one":       {word: "dead00", says: `no lab "dead00" runs here`},
		"another's domain": {word: "other", says: `no lab "other" runs here`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := withTwoLabs(t)
			found, err := s.app.find(t.Context(), test.word)
			if test.says != "" {
				g.Expect(err).To(MatchError(ContainSubstring(test.says)))
				g.Expect(s.run(t.Context(), "status", test.word).status).To(Equal(2))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(found.ID).To(Equal(test.id))
		})
	}
}

func TestDotIsTheOnlyLab(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	s.lab(t, "aa11bb", "alice", "bob")
	found, err := s.app.find(t.Context(), ".")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found.ID).To(Equal("aa11bb"))
	for _, args := range [][]string{{"exec", ".", "alcie", "--", "true"}, {"ssh", ".", "alcie"}, {"console", ".", "alcie"}, {"cp", ".:alcie:/x", "y"}} {
		got := s.run(t.Context(), args...)
		g.Expect(got.status).To(Equal(2), args[0])
		g.Expect(got.err).To(Equal("labtest: lab aa11bb has no node \"alcie\"; it has alice, bob; did you mean alice?\n"))
	}
}

func TestCompletionKnowsLabsAndNodes(t *testing.T) {
	g := NewWithT(t)
	s := withTwoLabs(t)
	g.Expect(s.run(t.Context(), "__complete", "exec", "").out).To(And(ContainSubstring("aa11bb\n"), ContainSubstring("aacc22\n"), Not(ContainSubstring("dead00"))))
	g.Expect(s.run(t.Context(), "__complete", "ssh", "aa11bb", "").out).To(And(ContainSubstring("alice\n"), ContainSubstring("bob\n")))
	g.Expect(s.run(t.Context(), "__complete", "image", "build", "").out).To(ContainSubstring("debian-12\n"))
}
