package image

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

//go:embed catalog.yaml
var builtinCatalog []byte

// Firmware names: how a machine starts the image's boot loader, or hands over where the image has a kernel beside it.
const (
	BIOS = "bios"
	UEFI = "uefi"
)

// Entry is one image of the catalog. It has either a Recipe, or a URL and a Digest.
type Entry struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// Arch is Go's name of an architecture; empty for a recipe that follows the host.
	Arch string `yaml:"arch"`
	// Firmware is BIOS or UEFI; empty means BIOS.
	Firmware string `yaml:"firmware"`
	// MinMemoryMB is what a node needs to boot the image, in MiB; 0 means not known.
	MinMemoryMB int `yaml:"min_memory_mb"`
	// URL is where the disk is downloaded from, Digest what it must have: "sha256:HEX" or "sha512:HEX".
	URL    string  `yaml:"url"`
	Digest string  `yaml:"digest"`
	Recipe *Recipe `yaml:"recipe"`
}

// Recipe says how mmdebstrap makes a Debian image on the host.
type Recipe struct {
	Suite    string   `yaml:"suite"`
	Packages []string `yaml:"packages"`
	// SizeGB is the size of the disk and its file system, in GiB; a larger overlay is grown into at boot.
	SizeGB int `yaml:"size_gb"`
	// Cmdline is the kernel's command line. The root file system has the label "rootfs".
	Cmdline string `yaml:"cmdline"`
	// Mask lists systemd units that must not run.
	Mask []string `yaml:"mask"`
	// Files are text files by absolute path, owned by root, mode 0644, or 0755 where the text begins with #!.
	Files map[string]string `yaml:"files"`
}

type catalogFile struct {
	Images []Entry `yaml:"images"`
}

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	digestForm = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
	suiteForm  = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	unitForm   = regexp.MustCompile(`^[A-Za-z0-9:_.@-]+\.[a-z]+$`)
)

// Entries returns the built-in catalog and the user's file, whose entries replace those of the same name, sorted by name. A path
// that is empty, or where no file is, adds nothing; a file that is wrong is an error with all its problems.
func Entries(path string) ([]Entry, error) {
	all, err := parseCatalog("built-in catalog", builtinCatalog)
	if err != nil {
		return nil, err
	}
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read catalog: %w", err)
		}
		own, err := parseCatalog(path, text)
		if err != nil {
			return nil, err
		}
		for _, e := range own {
			all = slices.DeleteFunc(all, func(old Entry) bool { return old.Name == e.Name })
		}
		all = append(all, own...)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func parseCatalog(where string, text []byte) ([]Entry, error) {
	var file catalogFile
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read catalog %s: %w", where, err)
	}
	var problems []error
	seen := map[string]int{}
	for i := range file.Images {
		e := &file.Images[i]
		e.defaults()
		at := fmt.Sprintf("images[%d] (%s)", i, e.Name)
		if first, twice := seen[e.Name]; twice {
			problems = append(problems, fmt.Errorf("%s: name: already used by images[%d]", at, first))
		}
		seen[e.Name] = i
		for _, p := range e.problems() {
			problems = append(problems, fmt.Errorf("%s: %s", at, p))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("catalog %s: %w", where, err)
	}
	return file.Images, nil
}

func (e *Entry) defaults() {
	if e.Arch == "" {
		e.Arch = runtime.GOARCH
	}
	if e.Firmware == "" {
		e.Firmware = BIOS
	}
	if e.Recipe != nil && e.Recipe.SizeGB == 0 {
		e.Recipe.SizeGB = 4
	}
}

func (e *Entry) problems() []string {
	var out []string
	if !nameForm.MatchString(e.Name) {
		out = append(out, `name: use lower-case letters, digits, ".", "_", "-", at most 63`)
	}
	if e.Firmware != BIOS && e.Firmware != UEFI {
		out = append(out, fmt.Sprintf("firmware: %q is neither bios nor uefi", e.Firmware))
	}
	switch {
	case (e.Recipe == nil) == (e.URL == ""):
		out = append(out, "give either url and digest, or recipe")
	case e.Recipe != nil:
		out = append(out, e.Recipe.problems()...)
	case !strings.HasPrefix(e.URL, "http://") && !strings.HasPrefix(e.URL, "https://"):
		out = append(out, fmt.Sprintf("url: %q is not http or https", e.URL))
	case !digestForm.MatchString(e.Digest):
		out = append(out, fmt.Sprintf("digest: %q is not sha256:<64 hex digits> or sha512:<128 hex digits>", e.Digest))
	}
	return out
}

func (r *Recipe) problems() []string {
	var out []string
	if !suiteForm.MatchString(r.Suite) {
		out = append(out, fmt.Sprintf("recipe.suite: %q is not the name of a Debian suite", r.Suite))
	}
	if r.SizeGB < 2 || r.SizeGB > 1024 {
		out = append(out, fmt.Sprintf("recipe.size_gb: %d is not between 2 and 1024", r.SizeGB))
	}
	if r.Cmdline == "" || strings.ContainsAny(r.Cmdline, "\n\x00") {
		out = append(out, "recipe.cmdline: give the kernel's command line, for example root=LABEL=rootfs console=ttyS0")
	}
	for _, p := range r.Packages {
		if !packageForm.MatchString(p) {
			out = append(out, fmt.Sprintf("recipe.packages: %q is not the name of a package", p))
		}
	}
	for _, u := range r.Mask {
		if !unitForm.MatchString(u) {
			out = append(out, fmt.Sprintf("recipe.mask: %q is not the name of a unit", u))
		}
	}
	for path := range r.Files {
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "..") || strings.HasSuffix(path, "/") {
			out = append(out, fmt.Sprintf("recipe.files: %q is not the absolute path of a file", path))
		}
	}
	slices.Sort(out)
	return out
}
