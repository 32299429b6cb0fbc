package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Request names an image and what must be in it.
type Request struct {
	// Name is a catalog entry, an imported image, the path of a qcow2 or raw disk (with a slash, or ending in .qcow2, .raw or
	// .img), or a URL with its digest: https://host/disk.qcow2#sha256=HEX.
	Name string
	// Packages are Debian packages to install on top. Where the image is not built from a recipe they are left to the caller:
	// Image.PackagesBaked is false.
	Packages []string
}

// source is one way to have an image.
type source struct {
	name, kind string
	// key is the reference's name.
	key string
	// doing tells others what the holder of the lock is at.
	doing string
	// current says whether the reference still leads to what is wanted; nil means always.
	current func(ref) bool
	// make puts the object's files into the workspace.
	make func(ctx context.Context, w *workspace, rep *reporter) (filled, error)
}

// Ensure returns the image, making it first where it is not present: building, downloading or importing it. It waits for
// another process that is making the same image. The caller closes the image when no node uses it any more. Errors that a
// caller may tell apart: MissingPackagesError.
func (s *Store) Ensure(ctx context.Context, req Request) (*Image, error) {
	return s.ensure(ctx, req, s.obtain)
}

// Build makes a recipe image, or one with packages, anew, even if it is present; nodes that use the old one keep it. For other
// images it is Ensure. The caller closes the image.
func (s *Store) Build(ctx context.Context, req Request) (*Image, error) {
	return s.ensure(ctx, req, func(ctx context.Context, src source) (*Image, error) {
		anew := src.kind == KindRecipe && len(req.Packages) == 0 || src.kind == KindDerived
		if !anew {
			return s.obtain(ctx, src)
		}
		rep := s.report(src.name)
		l, err := s.waitFill(ctx, src.key, src.doing, rep)
		if err != nil {
			return nil, err
		}
		defer closeQuietly(l)
		return s.fillFrom(ctx, src, rep)
	})
}

// Pull downloads a catalog image or URL, if it is not present. The caller closes the image.
func (s *Store) Pull(ctx context.Context, name string) (*Image, error) {
	src, err := s.resolve(name)
	if err == nil && src.kind != KindDownload {
		err = fmt.Errorf("is not downloaded (%s): use labtest image build %s", src.kind, name)
	}
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	return s.Ensure(ctx, Request{Name: name})
}

func (s *Store) ensure(ctx context.Context, req Request, obtain func(context.Context, source) (*Image, error)) (*Image, error) {
	img, err := s.ensureAll(ctx, req, obtain)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", req.Name, err)
	}
	return img, nil
}

func (s *Store) ensureAll(ctx context.Context, req Request, obtain func(context.Context, source) (*Image, error)) (*Image, error) {
	packages, err := tidyPackages(req.Packages)
	if err != nil {
		return nil, err
	}
	src, err := s.resolve(req.Name)
	if err != nil {
		return nil, err
	}
	if src.kind == KindRecipe && len(packages) > 0 {
		src = s.derivedSource(src, packages)
	}
	img, err := obtain(ctx, src)
	if err != nil {
		return nil, err
	}
	img.Packages = packages
	img.PackagesBaked = len(packages) == 0 || src.kind == KindDerived
	return img, nil
}

// obtain opens the image, or fills it under its lock.
func (s *Store) obtain(ctx context.Context, src source) (*Image, error) {
	if img, err := s.openCurrent(ctx, src); err == nil {
		return img, nil
	}
	rep := s.report(src.name)
	l, err := s.waitFill(ctx, src.key, src.doing, rep)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(l)
	img, err := s.openCurrent(ctx, src)
	switch {
	case err == nil:
		return img, nil
	case errors.Is(err, errDamaged) && src.make == nil:
		return nil, fmt.Errorf("%w: import it again (labtest image import FILE --name %s)", err, src.name)
	case errors.Is(err, errDamaged):
		s.log.Warn("a damaged image is made again", "image", src.name, "err", err)
		return s.replaceDamaged(ctx, src, rep)
	case !errors.Is(err, errAbsent):
		return nil, err
	case src.make == nil:
		return nil, fmt.Errorf("%w: its files are gone; import it again (labtest image import FILE --name %s)", err, src.name)
	}
	return s.fillFrom(ctx, src, rep)
}

// replaceDamaged makes the image again. The damaged files go once the new ones are there, unless a node still has them
// open; then GC removes them.
func (s *Store) replaceDamaged(ctx context.Context, src source, rep *reporter) (*Image, error) {
	var old ref
	if err := readJSON(s.refPath(src.key), &old); err != nil {
		return nil, err
	}
	img, err := s.fillFrom(ctx, src, rep)
	if err != nil {
		return nil, err
	}
	if _, err := s.removeUnreferenced(ctx, old.Object, GCOptions{}); err != nil {
		s.log.Warn("the damaged files were not removed: labtest gc does it", "image", src.name, "object", old.Object, "err", err)
	}
	return img, nil
}

func (s *Store) openCurrent(ctx context.Context, src source) (*Image, error) {
	if src.current != nil {
		var r ref
		if err := readJSON(s.refPath(src.key), &r); err != nil || !src.current(r) {
			return nil, errAbsent
		}
	}
	return s.open(ctx, src.key, src.name)
}

func (s *Store) fillFrom(ctx context.Context, src source, rep *reporter) (*Image, error) {
	s.log.Info("making image", "image", src.name, "kind", src.kind)
	return s.fill(ctx, src.key, rep, func(ctx context.Context, w *workspace) (filled, error) {
		f, err := src.make(ctx, w, rep)
		f.name, f.kind = src.name, src.kind
		return f, err
	})
}

// resolve finds out what a name means.
func (s *Store) resolve(name string) (source, error) {
	if strings.Contains(name, "://") {
		return s.urlSource(name)
	}
	// An import comes first: it is how a host without a way out has a catalog's image.
	if key := refKey(KindImport, name); exists(s.refPath(key)) {
		return source{name: name, kind: KindImport, key: key, doing: "importing " + name}, nil
	}
	if e, ok := s.entry(name); ok {
		return s.entrySource(e)
	}
	if looksLikePath(name) {
		return s.pathSource(name)
	}
	known, err := Names(s.cfg)
	if err != nil {
		return source{}, err
	}
	return source{}, fmt.Errorf("not known; known are %s; or give a path (./disk.qcow2) or a URL with #sha256=HEX", strings.Join(known, ", "))
}

func looksLikePath(name string) bool {
	return strings.Contains(name, "/") ||
		slices.ContainsFunc([]string{".qcow2", ".raw", ".img"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

func (s *Store) entrySource(e Entry) (source, error) {
	if e.Arch != s.cfg.Arch {
		return source{}, fmt.Errorf("the catalog has it for %s, not for %s; add an entry to your own catalog, or import a disk", e.Arch, s.cfg.Arch)
	}
	if e.Recipe != nil {
		return s.recipeSource(e), nil
	}
	return s.downloadSource(e.Name, e.URL, e.Digest, e.Firmware), nil
}

// urlSource reads https://host/disk.qcow2#sha256=HEX.
func (s *Store) urlSource(name string) (source, error) {
	url, fragment, _ := strings.Cut(name, "#")
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return source{}, errors.New("only http and https can be downloaded; import another file by labtest image import FILE --name NAME")
	}
	digest := strings.Replace(fragment, "=", ":", 1)
	if !digestForm.MatchString(digest) {
		return source{}, errors.New("a URL needs the digest of its file: append #sha256=<64 hex digits> or #sha512=<128 hex digits>, as its publisher lists it")
	}
	return s.downloadSource(name, url, digest, ""), nil
}
