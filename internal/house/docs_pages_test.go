package house_test

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestLinksInDocsLeadSomewhere(t *testing.T) {
	g := NewWithT(t)
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)]*)?\)`)
	all := pages(t)
	for page, text := range all {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			target := page
			if found[1] != "" {
				target = path.Join(path.Dir(page), found[1])
			}
			g.Expect(filepath.Join(root, filepath.FromSlash(target))).To(Or(BeARegularFile(), BeADirectory()), page)
			if found[2] != "" {
				g.Expect(anchors(all[target])).To(ContainElement(found[2]), page)
			}
		}
	}
}

// anchors are those that GitHub gives the headings of a page: lower case, spaces as hyphens, punctuation left out.
func anchors(text string) []string {
	var found []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		found = append(found, "#"+strings.ReplaceAll(plain, " ", "-"))
	}
	return found
}

func TestEveryVariableIsDocumented(t *testing.T) {
	g := NewWithT(t)
	variable := regexp.MustCompile(`"(LABTEST_[A-Z_]+)"`)
	page := pages(t)["docs/ci.md"]
	seen := map[string]bool{}
	g.Expect(fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && foreign(name, entry.Name()) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		data, err := fs.ReadFile(os.DirFS(root), name)
		for _, found := range variable.FindAllSubmatch(data, -1) {
			seen[string(found[1])] = true
			g.Expect(page).To(ContainSubstring("| `"+string(found[1])+"` |"), name)
		}
		return err
	})).To(Succeed())
	g.Expect(len(seen)).To(BeNumerically(">", 4), "hardly any variable was found")
}

func TestEveryImageIsDocumented(t *testing.T) {
	g := NewWithT(t)
	catalog, err := os.ReadFile(filepath.Join(root, "internal", "image", "catalog.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	names := regexp.MustCompile(`(?m)^  - name: (\S+)$`).FindAllSubmatch(catalog, -1)
	g.Expect(len(names)).To(BeNumerically(">", 5))
	page := []byte(pages(t)["docs/images.md"])
	for _, name := range names {
		g.Expect(bytes.Contains(page, []byte("| `"+string(name[1])+"` |"))).To(BeTrue(), "docs/images.md lacks %s", name[1])
	}
}
