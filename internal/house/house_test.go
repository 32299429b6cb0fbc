package house_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const (
	module = "ionlab"
	// root is the module's folder as seen from this package's.
	root = "../.."
)

func TestImportsGoOneWay(t *testing.T) {
	g := NewWithT(t)
	packages, err := list(t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(packages)).To(BeNumerically(">", len(leaves)), "go list found hardly any package")
	g.Expect(broken(module, packages)).To(BeEmpty())
}

func TestFilesStayShort(t *testing.T) {
	g := NewWithT(t)
	long, seen, err := longFiles(os.DirFS(root))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seen).To(BeNumerically(">", 10), "found hardly any source")
	g.Expect(long).To(BeEmpty())
}

// list asks the go command for the packages as they are; -e keeps a package that does not build from hiding the others.
func list(t *testing.T) ([]pkg, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-tags", "libvirt_dlopen",
		"-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	command.Dir = filepath.FromSlash(root)
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(complaints.String()))
	}
	var packages []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}
