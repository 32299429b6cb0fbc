package labtest

import (
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = DescribeScenarios("a table", func() *Lab { return nil },
	Scenario{Name: "first", Steps: []Step{good()}}, Scenario{Name: "second", Steps: []Step{good()}})

func TestTableMakesASpecOfEachScenario(t *testing.T) {
	g := NewWithT(t)
	specs := ginkgo.PreviewSpecs("labtest").SpecReports
	var names []string
	for _, spec := range specs {
		if spec.ContainerHierarchyTexts[0] != "a table" {
			continue // of the suite in ginkgo_test.go
		}
		names = append(names, spec.FullText())
		g.Expect(filepath.Base(spec.LeafNodeLocation.FileName)).To(Equal("table_test.go"), "the author's line, for reproduce")
	}
	g.Expect(names).To(ConsistOf("a table first", "a table second"))
}
