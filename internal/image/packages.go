package image

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// packageForm is Debian policy 5.6.1 with apt's optional architecture, and version or release.
var packageForm = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+|/[a-z][a-z0-9-]*)?$`)

// MissingPackagesError says that packages of a request are not in the archive the image is built from.
type MissingPackagesError struct {
	// Image is the name asked for, Suite the archive's, Packages what is not in it, sorted.
	Image, Suite string
	Packages     []string
}

// Error names the packages and what to do instead.
func (e *MissingPackagesError) Error() string {
	what, is := "package", "is"
	if len(e.Packages) > 1 {
		what, is = "packages", "are"
	}
	return fmt.Sprintf("%s %s %s not in Debian %s, which image %q is built from: correct the name, or bring the software as a .deb or a program with deploy",
		what, quoted(e.Packages), is, e.Suite, e.Image)
}

func quoted(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(out, ", ")
}

// tidyPackages sorts the packages, drops repetitions, and refuses what is no package name.
func tidyPackages(packages []string) ([]string, error) {
	out := slices.Clone(packages)
	slices.Sort(out)
	out = slices.Compact(out)
	var bad []string
	for _, p := range out {
		if !packageForm.MatchString(p) {
			bad = append(bad, p)
		}
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("packages: %s: not a name of a Debian package (lower-case letters, digits, \"+\", \"-\", \".\"; optionally =version)", quoted(bad))
	}
	return out, nil
}
