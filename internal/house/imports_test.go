// Package house tests the house itself: which package may import which, and how long a file may grow.
package house_test

import (
	"fmt"
	"slices"
	"strings"
)

// leaves know nothing of each other; internal/lab composes them.
var leaves = []string{
	"internal/artifact", "internal/doctor", "internal/domain", "internal/fabric",
	"internal/guest", "internal/image", "internal/ledger", "internal/savefile", "internal/seed", "internal/snapshot", "internal/topology",
}

// A room is a package and the packages below it. It may import its own, and of the rest of the module only mayUse.
type room struct {
	path   string
	mayUse []string
}

// rooms are design.md's layout, in its order: suites -> fixtures -> labtest -> internal/lab -> leaves.
func rooms() []room {
	list := []room{
		{path: "suites", mayUse: []string{"fixtures", "labtest", "matchers", "internal/poll"}},
		{path: "fixtures", mayUse: []string{"labtest", "matchers", "internal/poll"}},
		{path: "labtest", mayUse: []string{"matchers", "internal"}},
		{path: "matchers"},
		// Not labtest: importing Ginkgo registers its flags.
		{path: "cmd/labtest", mayUse: []string{"internal"}},
		{path: "bench", mayUse: []string{"fixtures", "labtest", "matchers", "internal"}},
		// host gives lab the machine it runs on: virt and the image store behind lab's interfaces.
		{path: "internal/host", mayUse: append([]string{"internal/lab", "internal/virt", "internal/poll"}, leaves...)},
		// virt implements what lab declares, and is injected.
		{path: "internal/virt", mayUse: append([]string{"internal/lab", "internal/poll"}, leaves...)},
		{path: "internal/lab", mayUse: append([]string{"internal/lock", "internal/poll"}, leaves...)},
		// poll and lock are below the leaves: how to wait, and for whom.
		{path: "internal/poll"},
		{path: "internal/lock", mayUse: []string{"internal/poll"}},
		// The house's tests load the topologies in the docs.
		{path: "internal/house", mayUse: []string{"internal/topology"}},
		{path: "scripts"},
	}
	for _, leaf := range leaves {
		list = append(list, room{path: leaf, mayUse: []string{"internal/lock", "internal/poll"}})
	}
	return list
}

// A fence keeps a foreign package in the rooms that need it. reach also counts what a package imports indirectly.
type fence struct {
	foreign string
	only    []string
	reach   bool
	why     string
}

func fences() []fence {
	return []fence{
		{
			foreign: "libvirt.org/go/libvirt", only: []string{"internal/virt"},
			why: "everything else builds without libvirt's headers",
		},
		{
			foreign: "libvirt.org/go/libvirt", only: []string{"internal/virt", "internal/host", "cmd/labtest", "labtest", "fixtures", "suites", "bench"},
			reach: true, why: "virt is injected where a program begins, so that the rest is tested without libvirt",
		},
		{
			foreign: "github.com/onsi/ginkgo/v2", only: []string{"labtest", "fixtures", "suites", "bench", "scripts"},
			reach: true, why: "importing Ginkgo registers its flags",
		},
	}
}

// A pkg is what `go list -json` tells of a package: its own imports with those of its tests, and everything that the
// package without its tests reaches.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

func (p pkg) direct() []string {
	return slices.Concat(p.Imports, p.TestImports, p.XTestImports)
}

// broken returns a sentence for each import that the rules forbid, in the order of packages.
func broken(module string, packages []pkg) []string {
	var found []string
	for _, p := range packages {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		found = append(found, brokenRooms(module, path, p)...)
		found = append(found, brokenFences(path, p)...)
	}
	return found
}

func brokenRooms(module, path string, p pkg) []string {
	list := rooms()
	i := slices.IndexFunc(list, func(r room) bool { return within(path, r.path) })
	if i < 0 {
		return []string{fmt.Sprintf("%s belongs to no room: add it to rooms, and to design.md's layout", path)}
	}
	home := list[i]
	var found []string
	for _, imported := range unique(p.direct()) {
		target, ours := strings.CutPrefix(imported, module+"/")
		if !ours || within(target, home.path) || withinAny(target, home.mayUse) {
			continue
		}
		allowed := "nothing of this module"
		if len(home.mayUse) > 0 {
			allowed = "only " + strings.Join(home.mayUse, ", ")
		}
		found = append(found, fmt.Sprintf("%s imports %s: %s may import %s", path, target, home.path, allowed))
	}
	return found
}

func brokenFences(path string, p pkg) []string {
	var found []string
	for _, f := range fences() {
		imports, verb := p.direct(), "imports"
		if f.reach {
			imports, verb = p.Deps, "reaches"
		}
		if withinAny(path, f.only) || !slices.ContainsFunc(imports, func(i string) bool { return within(i, f.foreign) }) {
			continue
		}
		found = append(found, fmt.Sprintf("%s %s %s, which only %s may: %s",
			path, verb, f.foreign, strings.Join(f.only, ", "), f.why))
	}
	return found
}

func within(path, room string) bool {
	return path == room || strings.HasPrefix(path, room+"/")
}

func withinAny(path string, rooms []string) bool {
	return slices.ContainsFunc(rooms, func(room string) bool { return within(path, room) })
}

func unique(list []string) []string {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}
