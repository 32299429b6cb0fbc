package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"ionlab/internal/lock"
)

// Info is one line of List.
type Info struct {
	Name, Description string
	// Kind is how the image is obtained: KindRecipe, KindDerived, KindDownload, KindImport or KindPath; Source says from where.
	Kind, Source string
	// Packages are those on top of a recipe image.
	Packages []string
	Arch     string
	Firmware string
	// MinMemoryMB is what a node needs to boot it, in MiB; 0 if not known.
	MinMemoryMB int
	// Present says that the image needs no work; InUse that somebody holds it. The fields below are set where it is present.
	Present, InUse bool
	// Damaged says what is wrong with a present image's files, as far as their sizes tell; Verify reads them.
	Damaged  string
	Digest   string
	Path     string
	Bytes    int64
	LastUsed time.Time
}

// List returns the catalog's images and all others that are present, by name.
func (s *Store) List() ([]Info, error) {
	refs, err := readRefs(s.path(refsDir))
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, e := range s.entries {
		src, err := s.entrySource(e)
		info := Info{Name: e.Name, Description: e.Description, Kind: KindDownload, Source: e.URL, Arch: e.Arch, Firmware: e.Firmware, MinMemoryMB: e.MinMemoryMB}
		if e.Recipe != nil {
			info.Kind, info.Source = KindRecipe, "Debian "+e.Recipe.Suite
		}
		if err == nil {
			if r, ok := refs[src.key]; ok {
				s.complete(&info, r)
				delete(refs, src.key)
			}
		}
		out = append(out, info)
	}
	for _, r := range refs {
		info := Info{Name: r.Name, Kind: r.Kind, Source: r.Source, Packages: r.Packages, Arch: s.cfg.Arch}
		if r.Kind == KindRecipe {
			info.Description = "built by another version of the recipe"
		}
		s.complete(&info, r)
		if info.Present || r.Kind == KindImport {
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b Info) int {
		return strings.Compare(a.Name+" "+strings.Join(a.Packages, " "), b.Name+" "+strings.Join(b.Packages, " "))
	})
	return out, nil
}

// complete adds what is known of a present image.
func (s *Store) complete(info *Info, r ref) {
	dir := s.objectDir(r.Object)
	if !exists(dir) {
		if r.Kind == KindImport {
			info.Damaged = "its files are gone"
		}
		return
	}
	info.Present, info.Path = true, dir
	m, err := readMeta(dir)
	if err == nil {
		info.Digest, info.Firmware = m.Digest, m.Firmware
		err = m.checkSizes(dir)
	}
	if err != nil {
		info.Damaged = err.Error()
	}
	if size, err := diskUsage(dir); err == nil {
		info.Bytes = size
	}
	if st, err := os.Stat(s.objectLock(r.Object)); err == nil {
		info.LastUsed = st.ModTime()
	}
	l, err := lock.TryExisting(s.objectLock(r.Object), lock.Exclusive)
	info.InUse = errors.Is(err, lock.ErrBusy)
	if err == nil {
		closeQuietly(l)
	}
}

// named returns the references of a name: the image itself and what is built on it.
func (s *Store) named(name string) (map[string]ref, error) {
	refs, err := readRefs(s.path(refsDir))
	if err != nil {
		return nil, err
	}
	for key, r := range refs {
		if r.Name != name {
			delete(refs, key)
		}
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("image %q is not in the store (labtest image list shows what is)", name)
	}
	return refs, nil
}

// Remove removes the image of that name and those with packages on top of it. It refuses while one is in use. Objects that
// another name leads to as well stay.
func (s *Store) Remove(ctx context.Context, name string) error {
	refs, err := s.named(name)
	if err != nil {
		return err
	}
	objects, err := s.objects()
	if err != nil {
		return err
	}
	for key, r := range refs {
		i := slices.IndexFunc(objects, func(o object) bool { return o.id == r.Object })
		if i < 0 || len(objects[i].refs) > 1 {
			if err := ignoreAbsent(os.Remove(s.refPath(key))); err != nil {
				return fmt.Errorf("remove image %q: %w", name, err)
			}
			if i >= 0 {
				objects[i].refs = slices.DeleteFunc(objects[i].refs, func(k string) bool { return k == key })
			}
			continue
		}
		_, err := s.removeObject(ctx, objects[i], GCOptions{})
		if errors.Is(err, lock.ErrBusy) {
			return fmt.Errorf("remove image %q: it is in use by a running lab; labtest list shows them", name)
		}
		if err != nil {
			return fmt.Errorf("remove image %q: %w", name, err)
		}
	}
	return nil
}

// Verify reads the files of the image of that name, and of those with packages on top of it, and compares them with the digests
// recorded when they were made. The error names each file that differs.
func (s *Store) Verify(ctx context.Context, name string) error {
	refs, err := s.named(name)
	if err != nil {
		return err
	}
	var problems []error
	for key := range refs {
		img, err := s.open(ctx, key, name)
		if err == nil {
			err = errors.Join(s.compare(ctx, name, img.dir, img.meta), img.Close())
		}
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("verify image %q: %w; make it anew: labtest image rm %s, then build, pull or import it", name, err, name)
	}
	return nil
}
