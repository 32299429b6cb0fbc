package house_test

import (
	"strings"
	"testing"
	"testing/fstest"

	. "github.com/onsi/gomega"
)

func TestBrokenNamesEachForbiddenImport(t *testing.T) {
	const (
		binding = "libvirt.org/go/libvirt"
		ginkgo  = "github.com/onsi/ginkgo/v2"
	)
	for name, test := range map[string]struct {
		pkg  pkg
		want string
	}{
		"a leaf imports a leaf": {
			pkg{ImportPath: "ionlab/internal/seed", Imports: []string{"ionlab/internal/image"}},
			"internal/seed imports internal/image: internal/seed may import only internal/lock, internal/poll",
		},
		"so does its test": {
			pkg{ImportPath: "ionlab/internal/seed", XTestImports: []string{"ionlab/internal/image"}},
			"internal/seed imports internal/image: internal/seed may import only internal/lock, internal/poll",
		},
		"a package below a leaf is the leaf": {
			pkg{ImportPath: "ionlab/internal/image/recipe", TestImports: []string{"ionlab/internal/lab"}},
			"internal/image/recipe imports internal/lab: internal/image may import only internal/lock, internal/poll",
		},
		"poll imports a leaf": {
			pkg{ImportPath: "ionlab/internal/poll", Imports: []string{"ionlab/internal/guest"}},
			"internal/poll imports internal/guest: internal/poll may import nothing of this module",
		},
		"lab imports virt": {
			pkg{ImportPath: "ionlab/internal/lab", Imports: []string{"ionlab/internal/virt"}},
			"internal/lab imports internal/virt: internal/lab may import only internal/lock, internal/poll",
		},
		"lab imports labtest": {
			pkg{ImportPath: "ionlab/internal/lab", Imports: []string{"ionlab/labtest"}},
			"internal/lab imports labtest: ",
		},
		"the command line imports labtest": {
			pkg{ImportPath: "ionlab/cmd/labtest", Imports: []string{"ionlab/labtest"}},
			"cmd/labtest imports labtest: cmd/labtest may import only internal",
		},
		"matchers import anything of ours": {
			pkg{ImportPath: "ionlab/matchers", Imports: []string{"ionlab/internal/poll"}},
			"matchers imports internal/poll: matchers may import nothing of this module",
		},
		"a fixture imports lab": {
			pkg{ImportPath: "ionlab/fixtures/rustdesk", Imports: []string{"ionlab/internal/lab"}},
			"fixtures/rustdesk imports internal/lab: fixtures may import only labtest",
		},
		"labtest imports a fixture": {
			pkg{ImportPath: "ionlab/labtest", Imports: []string{"ionlab/fixtures/rustdesk"}},
			"labtest imports fixtures/rustdesk: ",
		},
		"a suite imports internals": {
			pkg{ImportPath: "ionlab/suites/lab", XTestImports: []string{"ionlab/internal/fabric"}},
			"suites/lab imports internal/fabric: ",
		},
		"a second importer of the binding": {
			pkg{ImportPath: "ionlab/internal/domain", Imports: []string{binding}},
			"internal/domain imports libvirt.org/go/libvirt, which only internal/virt may",
		},
		"the binding by a detour": {
			pkg{ImportPath: "ionlab/internal/lab", Deps: []string{binding}},
			"internal/lab reaches libvirt.org/go/libvirt, which only internal/virt,",
		},
		"Ginkgo by a detour": {
			pkg{ImportPath: "ionlab/cmd/labtest", Deps: []string{ginkgo}},
			"cmd/labtest reaches github.com/onsi/ginkgo/v2, which only labtest,",
		},
		"a package without a room": {
			pkg{ImportPath: "ionlab/internal/util"},
			"internal/util belongs to no room",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(broken(module, []pkg{test.pkg})).To(ConsistOf(HavePrefix(test.want)))
		})
	}
}

func TestBrokenAllowsWhatDesignAllows(t *testing.T) {
	g := NewWithT(t)
	g.Expect(broken(module, []pkg{
		{ImportPath: "ionlab/internal/seed", Imports: []string{"fmt", "ionlab/internal/poll", "github.com/kdomanski/iso9660"}},
		{ImportPath: "ionlab/internal/domain", Imports: []string{"libvirt.org/go/libvirtxml"}},
		{ImportPath: "ionlab/internal/image", Imports: []string{"ionlab/internal/image/recipe"}},
		{ImportPath: "ionlab/internal/virt", Imports: []string{"libvirt.org/go/libvirt", "ionlab/internal/lab"}, Deps: []string{"libvirt.org/go/libvirt"}},
		{ImportPath: "ionlab/internal/lab", Imports: []string{"ionlab/internal/topology", "ionlab/internal/doctor"}},
		{ImportPath: "ionlab/cmd/labtest", Imports: []string{"ionlab/internal/lab", "ionlab/internal/virt"}, Deps: []string{"libvirt.org/go/libvirt"}},
		{ImportPath: "ionlab/labtest", Imports: []string{"github.com/onsi/ginkgo/v2", "ionlab/internal/virt"}, Deps: []string{"github.com/onsi/ginkgo/v2"}},
		{ImportPath: "ionlab/suites/rustdesk", XTestImports: []string{"ionlab/fixtures/rustdesk", "ionlab/labtest", "ionlab/matchers"}},
	})).To(BeEmpty())
}

func TestLongFilesKnowsBothLimits(t *testing.T) {
	g := NewWithT(t)
	lines := func(n int) *fstest.MapFile { return &fstest.MapFile{Data: []byte(strings.Repeat("x\n", n))} }
	long, seen, err := longFiles(fstest.MapFS{
		"internal/a/a.go":           lines(400),
		"internal/a/b.go":           lines(401),
		"internal/a/b_test.go":      lines(600),
		"suites/lab/c_test.go":      lines(601),
		"internal/a/testdata/d.go":  lines(900),
		".git/e.go":                 lines(900),
		"out/f.go":                  lines(900),
		"topologies/quickstart.yml": lines(900),
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seen).To(Equal(4))
	g.Expect(long).To(ConsistOf(
		"internal/a/b.go has 401 lines; 400 is the most: divide it by nouns",
		"suites/lab/c_test.go has 601 lines; 600 is the most: divide it by nouns",
	))
}
