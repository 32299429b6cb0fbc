package topology

import (
	"math"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestMACTailStaysInRange(t *testing.T) {
	g := NewWithT(t)
	for _, hash := range []uint64{0, 1, 7, 8, math.MaxUint32, math.MaxUint64, math.MaxUint64 - 7} {
		id := macTail(hash) & rustdeskMask
		g.Expect(id).To(BeNumerically(">=", rustdeskFirst))
		g.Expect(id).To(BeNumerically("<=", rustdeskMask))
	}
}

func TestMACCollisionsAreResolvedTheSameWayEachTime(t *testing.T) {
	g := NewWithT(t)
	first := newMACPlan("t").take("a", 0)
	again := func() string {
		plan := newMACPlan("t")
		plan.take("a", 0)
		return plan.take("a", 0).String()
	}
	g.Expect(again()).NotTo(Equal(first.String()), "the second one must differ")
	g.Expect(again()).To(Equal(again()))
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"vcpu", "vcpus", 1}, {"memmory", "memory", 1}, {"kitten", "sitting", 3}} {
		NewWithT(t).Expect(editDistance(c.a, c.b)).To(Equal(c.want), c.a+" "+c.b)
	}
}

func TestSuggest(t *testing.T) {
	g := NewWithT(t)
	known := []string{"name", "memory_mb", "vcpus"}
	g.Expect(suggest("VCPU", known)).To(Equal("vcpus"))
	g.Expect(suggest("zzzzz", known)).To(BeEmpty())
	g.Expect(suggest("", known)).To(BeEmpty())
	g.Expect(didYouMean("x", nil)).To(Equal("none is known"))
}

func TestShortenedLeavesTheListAlone(t *testing.T) {
	g := NewWithT(t)
	names := make([]string, 30)
	g.Expect(shortened(names)).To(HaveLen(25))
	g.Expect(names[24]).To(BeEmpty())
	g.Expect(shortened(names[:3])).To(HaveLen(3))
}

func TestParsePort(t *testing.T) {
	for text, want := range map[string]string{
		"8080:80":              "127.0.0.1:8080:80/tcp",
		"0:80":                 "127.0.0.1:0:80/tcp",
		"localhost:8080:80":    "127.0.0.1:8080:80/tcp",
		"127.0.0.1:0:80/tcp":   "127.0.0.1:0:80/tcp",
		"127.0.0.2:53:53/udp":  "127.0.0.2:53:53/udp",
		"0.0.0.0:53:53/udp":    "",
		"[::1]:8080:80":        "[::1]:8080:80/tcp",
		"127.0.0.1:65535:1":    "127.0.0.1:65535:1/tcp",
		"192.0.2.1:65535:1":    "",
		"[::]:1:1":             "",
		"8080":                 "",
		":80":                  "",
		"8080:":                "",
		"8080:0":               "",
		"-1:80":                "",
		"65536:80":             "",
		"a:80":                 "",
		"::1:8080:80":          "",
		"[127.0.0.1]:8080:80":  "",
		"[::ffff:1.2.3.4]:1:1": "",
		"[::1:8080:80/":        "",
		"1.2.3.4.5:1:1":        "",
		"8080:80/TCP":          "",
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			port, c := parsePort(text)
			if want == "" {
				g.Expect(c).NotTo(BeNil())
				return
			}
			g.Expect(c).To(BeNil())
			g.Expect(port.String()).To(Equal(want))
		})
	}
}

func TestPortsClash(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"8080:80", "8080:81", true},
		{"8080:80", "8081:80", false},
		{"8080:80", "8080:80/udp", false},
		{"0:80", "0:80", false},
		{"127.0.0.2:1:1", "127.0.0.1:1:2", false},
		{"[::1]:1:1", "127.0.0.1:1:2", false},
		{"127.0.0.1:1:1", "127.0.0.1:1:2", true},
	} {
		g := NewWithT(t)
		a, complaintA := parsePort(c.a)
		b, complaintB := parsePort(c.b)
		g.Expect(complaintA).To(BeNil())
		g.Expect(complaintB).To(BeNil())
		g.Expect(a.clash(b)).To(Equal(c.want), c.a+" and "+c.b)
		g.Expect(b.clash(a)).To(Equal(c.want), c.b+" and "+c.a)
	}
}

func TestVariables(t *testing.T) {
	lookup := func(name string) (string, bool) {
		value, ok := map[string]string{"A": "one", "EMPTY": ""}[name]
		return value, ok
	}
	for text, want := range map[string]struct {
		text  string
		unset []string
	}{
		"plain":              {"plain", nil},
		"${A}":               {"one", nil},
		"x/${A}/y${A}z":      {"x/one/yonez", nil},
		"$A and $":           {"$A and $", nil},
		"${B:-two}":          {"two", nil},
		"${A:-two}":          {"one", nil},
		"${EMPTY:-two}":      {"two", nil},
		"${B:-}x":            {"x", nil},
		"${B}/${EMPTY}/${A}": {"${B}/${EMPTY}/one", []string{"B", "EMPTY"}},
		"${B:-a:-b}":         {"a:-b", nil},
		"x}${A}":             {"x}one", nil},
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			pattern, c := parseVariables(text)
			g.Expect(c).To(BeNil())
			got, unset := pattern.expand(lookup)
			g.Expect(got).To(Equal(want.text))
			g.Expect(unset).To(Equal(want.unset))
		})
	}
}

func TestNilProblemsAreNoError(t *testing.T) {
	NewWithT(t).Expect((&report{}).err()).To(Succeed())
}

func TestProblemsAreSortedAndSaidOnce(t *testing.T) {
	g := NewWithT(t)
	r := &report{file: "f"}
	r.addf(mark{path: "b"}.at(2, 1), "right", "wrong")
	r.addf(mark{path: "a"}.at(1, 9), "right", "wrong")
	r.addf(mark{path: "a"}.at(1, 9), "right", "wrong")
	r.addf(mark{}, "", "whole file")
	g.Expect(r.err()).To(MatchError("f:1:1: whole file\nf:1:9: a: wrong; right\nf:2:1: b: wrong; right"))
}

// TestSteps shows that each step does its own part and no other's.
func TestSteps(t *testing.T) {
	g := NewWithT(t)
	r := &report{file: "f"}
	raw := parse(r, []byte("nodes: [{name: a, memory_mb: 1}]"))
	g.Expect(r.err()).To(Succeed(), "parse must not judge values")
	g.Expect(raw.nodes[0].vcpus.value).To(BeZero(), "parse must not fill in")
	applyDefaults(raw, "dir/file.yaml")
	g.Expect(raw.nodes[0].vcpus.value).To(Equal(1.0))
	g.Expect(raw.nodes[0].memoryMB.value).To(Equal(1.0), "defaults must not replace what is given")
	g.Expect(raw.name.value).To(Equal("file"))
	g.Expect(r.err()).To(Succeed(), "defaults must not judge values")
	validate(r, raw)
	g.Expect(r.err()).To(MatchError(ContainSubstring("memory_mb is 128 to")))
	g.Expect(raw.nodes[0].links.value[0].ip.given).To(BeFalse(), "validate must not plan")
	planned := plan(&report{file: "f"}, raw, sourceFolder{dir: "/lab"})
	g.Expect(planned.Nodes[0].Links[0].Addr.String()).To(Equal("10.13.0.10/24"))
}

func TestSyntaxErrorsInLongFilesHaveTheirLine(t *testing.T) {
	g := NewWithT(t)
	_, err := Parse("long.yaml", []byte(strings.Repeat("a: b\n", 20_000)+"x: y: z\n"))
	g.Expect(err).To(MatchError(ContainSubstring(`long.yaml:20001:1: this is not valid YAML: "mapping values are not allowed in this context"`)))
}
