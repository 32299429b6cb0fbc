package topology_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// FuzzParse looks for files that make Parse panic, fail without a place, or plan a lab that cannot be.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/broken/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g := NewWithT(t)
		parsed, err := topology.Parse("/lab/fuzz.yaml", data)
		if err != nil {
			g.Expect(parsed).To(BeNil())
			expectProblems(g, err)
			return
		}
		expectInvariants(g, parsed)
	})
}
