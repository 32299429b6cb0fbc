package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"ionlab/internal/lock"
)

// Image is a base disk in use: until Close, or until the process dies, the store keeps it. Its files are read-only; put an
// overlay on Disk.
type Image struct {
	// Name is what the caller asked for.
	Name string
	// Digest names the content: disk, kernel, initrd and command line; "sha256:HEX".
	Digest string
	// Disk is the path of the disk, Format its format ("qcow2"), VirtualSize what the guest sees, in bytes.
	Disk, Format string
	VirtualSize  int64
	// Kernel, Initrd and Cmdline boot the image directly; all are empty where it boots by its own loader.
	Kernel, Initrd, Cmdline string
	// Firmware is BIOS or UEFI.
	Firmware string
	// PackagesBaked says that the packages of the request are in the image.
	PackagesBaked bool
	// Packages are those of the request, sorted.
	Packages []string
	// Manifest is the path of a list of the packages in the image with their versions; empty where it is not known.
	Manifest string

	dir  string
	meta *meta

	mu   sync.Mutex
	used *lock.Lock
}

// Close tells the store that the image is not in use any more. It is idempotent and nil-safe.
func (i *Image) Close() error {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.used.Close()
}

var (
	errAbsent  = errors.New("image is not present")
	errDamaged = errors.New("image is damaged")
)

var objectForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

// open opens what the reference leads to, without touching the network: errAbsent, errDamaged, or the image with its lock.
func (s *Store) open(ctx context.Context, key, name string) (*Image, error) {
	var r ref
	if err := readJSON(s.refPath(key), &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	if !objectForm.MatchString(r.Object) {
		return nil, fmt.Errorf("%w: %s is no reference", errAbsent, s.refPath(key))
	}
	used, err := lock.Wait(ctx, s.objectLock(r.Object), lock.Shared, nil)
	if err != nil {
		return nil, err
	}
	dir := s.objectDir(r.Object)
	m, err := readMeta(dir)
	if errors.Is(err, fs.ErrNotExist) && !exists(dir) {
		return nil, errors.Join(errAbsent, used.Close())
	}
	if err == nil {
		err = s.intact(ctx, name, dir, m)
	}
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), used.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errDamaged, err), used.Close())
	}
	s.touch(r.Object)
	return newImage(name, dir, m, r.Packages, used), nil
}

func newImage(name, dir string, m *meta, packages []string, used *lock.Lock) *Image {
	img := &Image{
		Name: name, Digest: m.Digest, Disk: filepath.Join(dir, diskFile), Format: m.Format, VirtualSize: m.VirtualSize,
		Cmdline: m.Cmdline, Firmware: m.Firmware, Packages: packages, dir: dir, meta: m, used: used,
	}
	if _, ok := m.Files[kernelFile]; ok {
		img.Kernel = filepath.Join(dir, kernelFile)
	}
	if _, ok := m.Files[initrdFile]; ok {
		img.Initrd = filepath.Join(dir, initrdFile)
	}
	if _, ok := m.Files[manifestFile]; ok {
		img.Manifest = filepath.Join(dir, manifestFile)
	}
	return img
}

// touch records the time of use on the object's lock file, which is not part of the object. Another user's store may refuse;
// then its order of eviction stays as it is.
func (s *Store) touch(id string) {
	now := s.cfg.Now()
	if err := os.Chtimes(s.objectLock(id), now, now); err != nil {
		s.log.Debug("the time of an image's use was not recorded", "object", id, "err", err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
