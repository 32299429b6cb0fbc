package topology

import (
	"regexp"
	"slices"
	"strings"
)

var (
	// debianPackage follows Debian Policy 5.6.1 and 5.6.12: name, optional architecture, optional version.
	debianPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[0-9A-Za-z][0-9A-Za-z.+~:-]*)?$`)
	// anyPackage takes the names of other distributions as well.
	anyPackage = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._-]*(:[a-z0-9-]+)?(=[0-9A-Za-z][0-9A-Za-z.+~:^_-]*)?$`)
)

// isPackage returns a rule for package names. Where the image is known to be Debian's or Ubuntu's, the names are too.
func isPackage(image string) func(string) *complaint {
	pattern := anyPackage
	if strings.HasPrefix(image, "debian") || strings.HasPrefix(image, "ubuntu") {
		pattern = debianPackage
	}
	return func(name string) *complaint {
		if pattern.MatchString(name) {
			return nil
		}
		return &complaint{quote(name) + " is not a package name", "write name or name=version, one package an entry"}
	}
}

func validatePackages(r *report, n *rawNode) {
	rule := isPackage(n.image.value.written)
	versions := map[string]field[string]{}
	for _, list := range [][]field[string]{n.packages, n.cloudInit.packages} {
		for i := range list {
			if check(r, &list[i], rule); !list[i].usable() {
				continue
			}
			name, version, _ := strings.Cut(list[i].value, "=")
			first, listed := versions[name]
			if _, other, _ := strings.Cut(first.value, "="); listed && other != version {
				r.addf(list[i].at, "keep one of them", "%s is asked for in another version in line %d", quote(name), first.at.line)
			}
			versions[name] = list[i]
		}
	}
}

// mergePackages returns all packages, sorted, each once.
func mergePackages(lists ...[]field[string]) []string {
	var all []string
	for _, list := range lists {
		all = append(all, values(list)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
