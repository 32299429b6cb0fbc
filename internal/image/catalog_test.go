package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheBuiltInCatalog(t *testing.T) {
	g := NewWithT(t)
	entries, err := Entries("")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(ContainElement(And(HaveField("Name", "debian-12"), HaveField("Recipe.Suite", "bookworm"))))
	for _, e := range entries {
		g.Expect(e.Description).NotTo(BeEmpty(), e.Name)
		if e.Recipe == nil {
			g.Expect(e.URL).To(MatchRegexp(`20\d{6}|-\d+-\d+\.\d+\.x86_64`), "%s: a URL names one build", e.Name)
			g.Expect(e.Arch).To(Equal("amd64"), e.Name)
		}
	}
}

func TestProgramsOfTheBuiltInRecipe(t *testing.T) {
	g := NewWithT(t)
	entries, err := Entries("")
	g.Expect(err).NotTo(HaveOccurred())
	entry, ok := findEntry(entries, "debian-12")
	g.Expect(ok).To(BeTrue())
	dir := t.TempDir()
	g.Expect(writeTree(dir, entry.Recipe.Files)).To(Succeed())
	shells := 0
	for name, text := range entry.Recipe.Files {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		g.Expect(err).NotTo(HaveOccurred())
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		g.Expect(info.Mode().Perm()).To(Equal(mode), name)
		if strings.HasPrefix(text, "#!/bin/sh\n") {
			shells++
			out, err := exec.CommandContext(t.Context(), "sh", "-n", path).CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), "%s: %s", name, out)
		}
		for line := range strings.Lines(text) { // what a unit starts has to be there
			if program, ok := strings.CutPrefix(line, "ExecStart=/usr/lib/ionlab/"); ok {
				g.Expect(entry.Recipe.Files).To(HaveKey("/usr/lib/ionlab/"+strings.Fields(program)[0]), name)
			}
		}
	}
	g.Expect(shells).To(BeNumerically(">", 0))
}

func TestTheUsersCatalogReplacesByName(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	digest := "sha256:" + strings.Repeat("0f", 32)
	g.Expect(os.WriteFile(path, []byte("images:\n- {name: ubuntu-22.04-cloudimg, url: 'http://mirror/u.img', digest: '"+digest+"'}\n"), 0o600)).To(Succeed())
	entries, err := Entries(path)
	g.Expect(err).NotTo(HaveOccurred())
	e, ok := findEntry(entries, "ubuntu-22.04-cloudimg")
	g.Expect(ok).To(BeTrue())
	g.Expect(e.URL).To(Equal("http://mirror/u.img"))
	g.Expect(e.Firmware).To(Equal(BIOS))
	_, ok = findEntry(entries, "debian-12")
	g.Expect(ok).To(BeTrue())
	_, err = Entries(filepath.Join(t.TempDir(), "none.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
}

func TestCatalogProblemsAreToldAtOnce(t *testing.T) {
	g := NewWithT(t)
	_, err := parseCatalog("my.yaml", []byte(`
images:
- {name: Upper, url: "http://h/x", digest: "sha256:12"}
- {name: both, url: "http://h/x", recipe: {suite: sid, cmdline: x}}
- {name: neither}
- {name: neither, url: "file:///x"}
- {name: uefy, firmware: uefy, url: "http://h/x", digest: "sha256:`+strings.Repeat("ab", 32)+`"}
- {name: r, recipe: {suite: "../x", size_gb: 1, packages: ["a b"], mask: ["x/y"], files: {etc/x: "", /../x: ""}}}
`))
	for _, want := range []string{
		"catalog my.yaml: images[0] (Upper): name: use lower-case letters",
		`images[0] (Upper): digest: "sha256:12" is not sha256:`,
		"images[1] (both): give either url and digest, or recipe",
		"images[2] (neither): give either url and digest, or recipe",
		"images[3] (neither): name: already used by images[2]",
		`images[3] (neither): url: "file:///x" is not http or https`,
		`images[4] (uefy): firmware: "uefy" is neither bios nor uefi`,
		`recipe.suite: "../x" is not the name of a Debian suite`,
		"recipe.size_gb: 1 is not between 2 and 1024",
		"recipe.cmdline: give the kernel's command line",
		`recipe.packages: "a b" is not the name of a package`,
		`recipe.mask: "x/y" is not the name of a unit`,
		`recipe.files: "etc/x" is not the absolute path of a file`,
		`recipe.files: "/../x" is not the absolute path of a file`,
	} {
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	_, err = parseCatalog("my.yaml", []byte("images:\n- {name: x, ulr: y}\n"))
	g.Expect(err).To(MatchError(And(ContainSubstring("my.yaml"), ContainSubstring("line 2"), ContainSubstring("ulr"))))
}

func FuzzParseCatalog(f *testing.F) {
	f.Add(builtinCatalog)
	f.Add([]byte("images:\n- {name: x, recipe: {files: {a: b}}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := parseCatalog("x", text)
		if err != nil && entries != nil {
			t.Fatal("entries beside an error")
		}
	})
}

func TestAptSources(t *testing.T) {
	def := "deb http://deb.debian.org/debian bookworm main\ndeb http://deb.debian.org/debian bookworm-updates main\n" +
		"deb http://deb.debian.org/debian-security bookworm-security main\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":      {want: def},
		"other suites": {files: map[string]string{"sources.list": "deb http://m/ubuntu noble main\n"}, want: def},
		"one line": {
			files: map[string]string{"sources.list": "# deb http://no/ bookworm main\ndeb-src http://s/ bookworm main\ndeb [arch=amd64 signed-by=/k] http://m/debian/ bookworm main contrib # x\ndeb http://second/debian bookworm main\ndeb http://sec/ bookworm-security main\n"},
			want:  "deb http://m/debian bookworm main\ndeb http://sec bookworm-security main\n",
		},
		"deb822": {
			files: map[string]string{
				"sources.list.d/a.sources": "Types: deb\nURIs: http://off/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\nTypes: deb deb-src\n# comment: x\nURIs: https://m/debian\nSuites: bookworm bookworm-updates\nComponents: main\n",
				"sources.list.d/b.list":    "deb http://other/ stable main\n",
			},
			want: "deb https://m/debian bookworm main\ndeb https://m/debian bookworm-updates main\n",
		},
		"not http":      {files: map[string]string{"sources.list": "deb file:/srv/debian bookworm main\n"}, want: def},
		"not main":      {files: map[string]string{"sources.list": "deb http://m/ bookworm contrib\n"}, want: def},
		"open brackets": {files: map[string]string{"sources.list": "deb [arch=amd64 http://m/ bookworm main\ndeb\ndeb [\n"}, want: def},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			g.Expect(os.Mkdir(filepath.Join(dir, "sources.list.d"), 0o755)).To(Succeed())
			for path, text := range c.files {
				g.Expect(os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600)).To(Succeed())
			}
			g.Expect(aptSources(dir, "bookworm")).To(Equal(c.want))
		})
	}
}

func TestInstallHint(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian\n": "sudo apt-get install uidmap",
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n": "sudo apt-get install uidmap",
		"ID=fedora\n": "sudo dnf install shadow-utils",
		"ID='arch'\n": "sudo pacman -S shadow",
		"ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n": "sudo zypper install shadow",
		"": "install the package that brings it (uidmap on Debian)",
	} {
		NewWithT(t).Expect(installHint("newuidmap", release)).To(Equal(want))
	}
}
