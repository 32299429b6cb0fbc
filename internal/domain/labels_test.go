package domain

import (
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestParseLabelsOfOthersDomains(t *testing.T) {
	const lab = `<labtest:lab id="a" owner="o" node="n"/>`
	cases := map[string]string{
		"no metadata":     `<domain><name>x</name></domain>`,
		"other metadata":  `<domain><metadata><lab xmlns="https://example.org/1" id="a"/></metadata></domain>`,
		"in another spot": `<domain xmlns:labtest="` + Namespace + `"><description>` + lab + `</description></domain>`,
		"in a snapshot":   `<domainsnapshot xmlns:labtest="` + Namespace + `"><metadata>` + lab + `</metadata></domainsnapshot>`,
		"nothing":         ``,
	}
	for name, text := range cases {
		g := NewWithT(t)
		_, err := ParseLabels(text)
		g.Expect(err).To(MatchError(ErrNoLabels), name)
		g.Expect(err).To(MatchError("read labels: the domain has no labtest labels: it is not a lab's"))
	}
}

func TestParseLabelsFindsTheNamespaceAnywhere(t *testing.T) {
	want := Labels{Lab: "a", Owner: "o", Node: "n", Addresses: map[string]string{"lan": "10.0.0.1"}}
	for _, text := range []string{
		`<domain xmlns:l='` + Namespace + `'><metadata><l:lab id='a' owner='o' node='n'><l:address network='lan'>10.0.0.1</l:address></l:lab></metadata></domain>`,
		`<domain><metadata><other xmlns="x"/><lab xmlns="` + Namespace + `" id="a" owner="o" node="n"><address network="lan">10.0.0.1</address></lab></metadata></domain>`,
	} {
		g := NewWithT(t)
		g.Expect(ParseLabels(text)).To(Equal(want))
	}
}

func TestParseLabelsOfBrokenXML(t *testing.T) {
	g := NewWithT(t)
	_, err := ParseLabels(`<domain><metadata>`)
	g.Expect(err).To(MatchError(ContainSubstring("read labels: parse domain XML: XML syntax error on line 1")))
	_, err = ParseLabels(`<domain><metadata><lab xmlns="` + Namespace + `" id="a"/></metadata></domain>`)
	g.Expect(err).To(MatchError("read labels: node and owner missing"))
	g.Expect(err).NotTo(MatchError(ErrNoLabels))
}

func FuzzParseLabels(f *testing.F) {
	text, err := XML(config())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("</a>")
	f.Add("<domain><metadata/></domain>")
	f.Fuzz(func(t *testing.T, text string) {
		labels, err := ParseLabels(text)
		if err == nil && len(labels.missing()) > 0 {
			t.Errorf("labels without an owner were taken: %+v", labels)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "read labels: ") {
			t.Errorf("odd error %q", err)
		}
	})
}

// TestParseLabelsFromLibvirt reads what libvirt 9.0 returns for a running domain.
func TestParseLabelsFromLibvirt(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile("testdata/from-libvirt.xml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ParseLabels(string(text))).To(Equal(config().Labels))
}
