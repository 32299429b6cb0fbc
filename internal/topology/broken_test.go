package topology_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestBroken holds every message about a broken file against its golden file.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(len(files)).To(BeNumerically(">=", 105))
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			g := NewWithT(t)
			data, err := os.ReadFile(file)
			g.Expect(err).NotTo(HaveOccurred())
			parsed, err := topology.Parse(name, data)
			g.Expect(err).To(HaveOccurred())
			g.Expect(parsed).To(BeNil())
			expectProblems(g, err)
			golden(g, strings.TrimSuffix(file, ".yaml")+".golden.txt", err.Error()+"\n")
		})
	}
}

// expectProblems checks what every error of Parse promises.
func expectProblems(g *WithT, err error) {
	var problems topology.Problems
	g.Expect(errors.As(err, &problems)).To(BeTrue(), "%T is not Problems", err)
	for i, p := range problems {
		g.Expect(p.Line).To(BeNumerically(">", 0), p.String())
		g.Expect(p.Column).To(BeNumerically(">", 0), p.String())
		g.Expect(p.Message).NotTo(BeEmpty(), p.String())
		g.Expect(p.Remedy).NotTo(BeEmpty(), p.String())
		if i > 0 {
			g.Expect(p.Line).To(BeNumerically(">=", problems[i-1].Line), "not in the order of the file")
		}
	}
}

func golden(g *WithT, file, got string) {
	if *update {
		g.Expect(os.WriteFile(file, []byte(got), 0o644)).To(Succeed())
	}
	want, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred(), "run the test with -update once and read what it wrote")
	g.Expect(got).To(Equal(string(want)))
}
