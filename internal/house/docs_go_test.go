package house_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// A fragment in the docs is a function body, or declarations when it begins with one; it may use these names.
const (
	fragmentHead = `package docs

import (
	"context"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
	. "ionlab/matchers"
)

var (
	_ context.Context
	_ = strings.TrimSpace
	_ = syscall.SIGTERM
	_ = time.Second
	_ = Describe
	_ = Expect
	_ = gbytes.Say
	_ = gexec.Exit
	_ = ExitWith

	lab               *labtest.Lab
	alice, bob, desk  *labtest.Node
)
`
	bodyHead = "\nfunc _(ctx SpecContext) {\n"
	bodyTail = "\n}\n"
)

// TestGoInDocsCompiles has the go command compile every block marked ```go, in packages that are only in its overlay.
func TestGoInDocsCompiles(t *testing.T) {
	g := NewWithT(t)
	found := blocks(t, "go")
	g.Expect(len(found)).To(BeNumerically(">", 8), "hardly any block is marked ```go")
	module, err := filepath.Abs(root)
	g.Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	overlay := map[string]map[string]string{"Replace": {}}
	var packages []string
	for i, b := range found {
		name := fmt.Sprintf("internal/house/docs%d", i)
		on := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		g.Expect(os.WriteFile(on, []byte(fragment(b)), 0o600)).To(Succeed())
		overlay["Replace"][filepath.Join(module, filepath.FromSlash(name), "docs.go")] = on
		packages = append(packages, "./"+name)
	}
	data, err := json.Marshal(overlay)
	g.Expect(err).NotTo(HaveOccurred())
	list := filepath.Join(dir, "overlay.json")
	g.Expect(os.WriteFile(list, data, 0o600)).To(Succeed())
	build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-tags", "libvirt_dlopen", "-overlay", list}, packages...)...)
	build.Dir = module
	output, err := build.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), "%s", output)
}

// fragment makes a file of a block. Errors of the compiler name the page and its line.
func fragment(b block) string {
	line := fmt.Sprintf("//line %s:%d\n", b.page, b.line)
	if strings.HasPrefix(b.text, "package ") {
		return line + b.text
	}
	for _, word := range []string{"var ", "func "} {
		if strings.HasPrefix(b.text, word) {
			return fragmentHead + line + b.text
		}
	}
	return fragmentHead + bodyHead + line + b.text + bodyTail
}
