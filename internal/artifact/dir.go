// Package artifact keeps what is left of a run: one folder per spec with size-capped files, and a transcript of
// operations. Secrets are taken out before a byte reaches the disk.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxSlug is the length in bytes at which a name of a file or folder is cut.
const maxSlug = 80

// maxTries bounds the search for a free name. A thousand runs of one spec into one folder need a clean-up, not a name.
const maxTries = 1000

// Dir is the folder of one spec. It is safe for concurrent use and needs no closing.
type Dir struct {
	path string

	mu       sync.Mutex
	redactor *Redactor
	names    []string
	taken    map[string]bool
}

// Create makes a new folder below root, named after the lab and the spec in letters that every file system takes.
// No other call, in this process or another, gets the same folder.
func Create(root, lab, spec string) (*Dir, error) {
	parent := filepath.Join(root, slug(lab, "lab"))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("create artifact folder for %q: %w", spec, err)
	}
	name := slug(spec, "spec")
	for try := 1; try <= maxTries; try++ {
		path := filepath.Join(parent, numbered(name, try))
		err := os.Mkdir(path, 0o755)
		if err == nil {
			return &Dir{path: path, taken: map[string]bool{}}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("create artifact folder for %q: %w", spec, err)
		}
	}
	return nil, fmt.Errorf("create artifact folder for %q: %s holds %d of that name: remove old ones", spec, parent, maxTries)
}

// Path is the folder.
func (d *Dir) Path() string { return d.path }

// Names lists the files that were saved, sorted, relative to Path.
func (d *Dir) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(slices.Values(d.names))
}

// Redact keeps secrets out of all files that are saved from now on, besides those of earlier calls.
func (d *Dir) Redact(secrets []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.redactor = d.redactor.with(secrets)
}

// Save keeps what src writes in a file of at most about limit bytes: of longer text it keeps the beginning and the end
// with a line between that tells how much is missing. Binary formats do not survive that: bound them at the source.
//
// The name may have slashes, for folders below Path; other odd characters in it are replaced, and a name that is taken
// gets a number. When src fails or ctx ends, what was written until then is kept, the file ends in the reason, and Save
// returns it.
func (d *Dir) Save(ctx context.Context, name string, limit int64, src func(context.Context, io.Writer) error) error {
	if limit < 1 {
		return fmt.Errorf("save artifact %q: limit of %d bytes: want at least 1", name, limit)
	}
	relative, redactor := d.claim(name)
	path := filepath.Join(d.path, filepath.FromSlash(relative))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("save artifact %q: %w", name, err)
	}
	if err := save(ctx, path, limit, redactor, src); err != nil {
		return fmt.Errorf("save artifact %q: %w", name, err)
	}
	return nil
}

// claim finds a free name and takes it.
func (d *Dir) claim(name string) (string, *Redactor) {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part = slug(part, ""); part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		parts = []string{"file"}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	last := parts[len(parts)-1]
	for i := 1; i < len(parts); i++ {
		d.taken[strings.Join(parts[:i], "/")] = true // by a folder
	}
	for try := 1; ; try++ {
		parts[len(parts)-1] = numbered(last, try)
		if relative := strings.Join(parts, "/"); !d.taken[relative] {
			d.taken[relative] = true
			d.names = append(d.names, relative)
			return relative, d.redactor
		}
	}
}

// numbered adds a number to name, before its extension, from the second try on.
func numbered(name string, try int) string {
	if try == 1 {
		return name
	}
	extension := filepath.Ext(name)
	return strings.TrimSuffix(name, extension) + "-" + strconv.Itoa(try) + extension
}
