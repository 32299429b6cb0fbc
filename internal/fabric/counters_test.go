package fabric

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestCausesAndDirectionsHaveNames(t *testing.T) {
	g := NewWithT(t)
	seen := make(map[string]bool)
	for c := range causes {
		g.Expect(c.String()).NotTo(Equal("unknown"), "cause %d", int(c))
		seen[c.String()] = true
	}
	g.Expect(seen).To(HaveLen(int(causes)))
	g.Expect(causes.String()).To(Equal("unknown"))
	g.Expect(Egress.String()).To(Equal("egress"))
	g.Expect(Ingress.String()).To(Equal("ingress"))
}
