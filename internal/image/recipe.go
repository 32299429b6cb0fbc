package image

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The scripts that build a tree and pack it; they run in namespaces of their own.
var (
	//go:embed scripts/lib.sh
	libScript string
	//go:embed scripts/base.sh
	baseScript string
	//go:embed scripts/derive.sh
	deriveScript string
)

// debianKeyring is where the package debian-archive-keyring puts the keys, on Debian and elsewhere.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// exitMissing is the exit status by which derive.sh says that packages are not in the archive.
const exitMissing = 90

// recipeSource builds the entry's image. Its key covers all that the content depends on but the archive's state.
func (s *Store) recipeSource(e Entry) source {
	text, err := json.Marshal(e.Recipe)
	if err != nil { // strings and numbers always marshal
		text = []byte(e.Name)
	}
	return source{
		name: e.Name, kind: KindRecipe, doing: "building " + e.Name,
		key: refKey(KindRecipe, string(text), libScript, baseScript, e.Arch),
		make: func(ctx context.Context, w *workspace, rep *reporter) (filled, error) {
			return s.buildBase(ctx, w, e, rep)
		},
	}
}

// derivedSource installs packages on a recipe image. The image is current while it stands on the base that is present; a base
// that was evicted does not make it stale.
func (s *Store) derivedSource(base source, packages []string) source {
	return source{
		name: base.name, kind: KindDerived, doing: fmt.Sprintf("installing %s on %s", strings.Join(packages, ", "), base.name),
		key: refKey(KindDerived, append([]string{base.key, deriveScript}, packages...)...),
		current: func(r ref) bool {
			var below ref
			err := readJSON(s.refPath(base.key), &below)
			return err != nil || !exists(s.objectDir(below.Object)) || below.Object == r.Base
		},
		make: func(ctx context.Context, w *workspace, rep *reporter) (f filled, err error) {
			img, err := s.obtain(ctx, base)
			if err != nil {
				return filled{}, err
			}
			defer func() { err = errors.Join(err, img.Close()) }()
			return s.buildDerived(ctx, w, img, packages, rep)
		},
	}
}

func (s *Store) buildBase(ctx context.Context, w *workspace, e Entry, rep *reporter) (filled, error) {
	if err := s.canBuild(ctx, "mmdebstrap", "mke2fs", "qemu-img", "zstd", "tar", "dpkg-query"); err != nil {
		return filled{}, err
	}
	if !exists(s.keyring) {
		return filled{}, fmt.Errorf("%s is missing: %s", s.keyring, installHint("debian-archive-keyring", s.osRelease))
	}
	r := e.Recipe
	config, sources, mask := filepath.Join(w.dir, "config"), filepath.Join(w.dir, "sources.list"), filepath.Join(w.dir, "mask")
	err := errors.Join(
		writeTree(config, r.Files),
		os.WriteFile(sources, []byte(aptSources(s.aptDir, r.Suite)), 0o644),
		os.WriteFile(mask, []byte(strings.Join(append(slices.Clone(r.Mask), ""), "\n")), 0o644),
	)
	if err != nil {
		return filled{}, fmt.Errorf("prepare the build: %w", err)
	}
	size := int64(r.SizeGB) << 30
	_, err = s.script(ctx, w, baseScript, rep, map[string]string{
		"SUITE": r.Suite, "ARCH": e.Arch, "INCLUDE": strings.Join(r.Packages, ","), "SOURCES": sources, "KEYRING": s.keyring,
		"CONFIG": config, "MASK": mask, "SIZE": strconv.FormatInt(size, 10),
	})
	if err != nil {
		return filled{}, fmt.Errorf("build: %w", err)
	}
	f := filled{source: "Debian " + r.Suite, firmware: BIOS, cmdline: r.Cmdline, suite: r.Suite, virtualSize: size}
	return f, s.toQcow2(ctx, w.out(), rep)
}

func (s *Store) buildDerived(ctx context.Context, w *workspace, base *Image, packages []string, rep *reporter) (filled, error) {
	if err := s.canBuild(ctx, "mke2fs", "qemu-img", "zstd", "tar", "dpkg-query"); err != nil {
		return filled{}, err
	}
	list := filepath.Join(w.dir, "packages")
	if err := os.WriteFile(list, []byte(strings.Join(packages, "\n")+"\n"), 0o644); err != nil {
		return filled{}, fmt.Errorf("prepare the build: %w", err)
	}
	missing, err := s.script(ctx, w, deriveScript, rep, map[string]string{
		"BASE": filepath.Join(base.dir, archiveFile), "PACKAGES": list, "SIZE": strconv.FormatInt(base.VirtualSize, 10),
	})
	if exitStatus(err) == exitMissing && len(missing) > 0 {
		return filled{}, &MissingPackagesError{Image: base.Name, Suite: base.meta.Suite, Packages: missing}
	}
	if err != nil {
		return filled{}, fmt.Errorf("install %s: %w", strings.Join(packages, ", "), err)
	}
	f := filled{
		source: base.meta.Source, firmware: base.Firmware, cmdline: base.Cmdline, suite: base.meta.Suite,
		packages: packages, base: base.meta.id(), virtualSize: base.VirtualSize,
	}
	return f, s.toQcow2(ctx, w.out(), rep)
}

// builderLock is held while a build runs.
const builderLock = "builder"

// script runs a build script after lib.sh, one on the host at a time: apt's own lock on the shared archive of packages would
// fail the second. It returns the packages that the script found missing.
func (s *Store) script(ctx context.Context, w *workspace, text string, rep *reporter, vars map[string]string) ([]string, error) {
	path, work := filepath.Join(w.dir, "build.sh"), filepath.Join(w.dir, "work")
	if err := errors.Join(os.WriteFile(path, []byte(libScript+text), 0o644), os.Mkdir(work, 0o755)); err != nil {
		return nil, err
	}
	one, err := hold(ctx, s.path(locksDir, builderLock), "building "+rep.image, s.waiting(rep))
	if err != nil {
		return nil, err
	}
	defer closeQuietly(one)
	env := []string{
		"PATH=" + toolPath, "LC_ALL=C.UTF-8", "HOME=/root", "TMPDIR=" + work,
		"WORK=" + work, "OUT=" + w.out(), "DEBS=" + s.path(debsDir), "PROXY=" + s.aptProxy(ctx),
	}
	env = append(env, proxyEnv(os.Environ())...)
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	var missing []string
	stage := "packages"
	err = s.run.Run(ctx, command{Argv: append(s.namespace(), "sh", path), Env: env, Line: func(line string) {
		s.log.Debug("building image", "image", rep.image, "line", line)
		if name, ok := strings.CutPrefix(line, "STAGE "); ok {
			stage = name
			rep.begin(stage, "")
		} else if name, ok := strings.CutPrefix(line, "MISSING "); ok {
			missing = append(missing, name)
		} else {
			rep.line(stage, line)
		}
	}})
	return missing, err
}

// toQcow2 turns disk.raw into disk.qcow2; holes stay holes.
func (s *Store) toQcow2(ctx context.Context, dir string, rep *reporter) error {
	rep.begin("convert", "")
	raw := filepath.Join(dir, "disk.raw")
	err := s.run.Run(ctx, command{Argv: []string{"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, filepath.Join(dir, diskFile)}})
	if err != nil {
		return fmt.Errorf("convert the disk: %w", err)
	}
	return os.Remove(raw)
}

// writeTree writes files by absolute path below a folder. A text that names its interpreter is a program.
func writeTree(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer closeQuietly(root)
	for path, text := range files {
		name := strings.TrimPrefix(path, "/")
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := root.WriteFile(name, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}
