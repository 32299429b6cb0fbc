package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ImportOptions says how to keep an imported disk.
type ImportOptions struct {
	// Name is how requests call the image; it may be a catalog entry's, which it then stands in for.
	Name string
	// Firmware is BIOS or UEFI; empty means to find out from the partition table.
	Firmware string
}

// Import copies a qcow2 or raw disk with its own boot loader into the store, under a name. An image of that name is replaced;
// nodes that use it keep it. Imported images are the user's data: they are never evicted. It refuses disks that depend on other
// files, are encrypted, or damaged. The caller closes the image.
func (s *Store) Import(ctx context.Context, file string, opts ImportOptions) (*Image, error) {
	img, err := s.importFile(ctx, file, opts)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", file, err)
	}
	return img, nil
}

func (s *Store) importFile(ctx context.Context, file string, opts ImportOptions) (*Image, error) {
	if !nameForm.MatchString(opts.Name) || looksLikePath(opts.Name) {
		return nil, fmt.Errorf("name %q: use lower-case letters, digits, \".\", \"_\", \"-\", at most 63, and no ending of a disk file", opts.Name)
	}
	if opts.Firmware != "" && opts.Firmware != BIOS && opts.Firmware != UEFI {
		return nil, fmt.Errorf("firmware %q is neither bios nor uefi", opts.Firmware)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	src := source{
		name: opts.Name, kind: KindImport, key: refKey(KindImport, opts.Name), doing: "importing " + opts.Name,
		make: s.copyOf(path, opts.Firmware),
	}
	rep := s.report(opts.Name)
	l, err := s.waitFill(ctx, src.key, src.doing, rep)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(l)
	img, err := s.fillFrom(ctx, src, rep)
	if err != nil {
		return nil, err
	}
	img.PackagesBaked = true
	return img, nil
}

// pathSource stands for a disk named by path: it is copied into the store once, and again when it changes.
func (s *Store) pathSource(name string) (source, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return source{}, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return source{}, err
	}
	if !st.Mode().IsRegular() {
		return source{}, fmt.Errorf("%s is not a regular file", path)
	}
	inode := uint64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return source{
		name: name, kind: KindPath, doing: "importing " + path, make: s.copyOf(path, ""),
		key: refKey(KindPath, path, strconv.FormatInt(st.Size(), 10), strconv.FormatInt(st.ModTime().UnixNano(), 10), strconv.FormatUint(inode, 10)),
	}, nil
}

func (s *Store) copyOf(path, firmware string) func(context.Context, *workspace, *reporter) (filled, error) {
	return func(ctx context.Context, w *workspace, rep *reporter) (filled, error) {
		rep.begin("import", path)
		f, err := s.adopt(ctx, path, w, firmware, func(info diskInfo, disk string) error {
			if info.Format == "qcow2" {
				return copyFile(ctx, disk, path, rep)
			}
			return s.run.Run(ctx, command{Argv: []string{"qemu-img", "convert", "-f", info.Format, "-O", "qcow2", path, disk}})
		})
		f.source = path
		return f, err
	}
}

// adopt makes a foreign disk into the workspace's: it is inspected, checked, put in place, and its firmware found out.
func (s *Store) adopt(ctx context.Context, path string, w *workspace, firmware string, place func(info diskInfo, disk string) error) (filled, error) {
	info, err := s.inspect(ctx, path)
	if err != nil {
		return filled{}, err
	}
	if err := s.check(ctx, path, info.Format); err != nil {
		return filled{}, err
	}
	head, err := s.head(ctx, path, info.Format, w.dir)
	if err != nil {
		return filled{}, err
	}
	found, err := firmwareOf(head)
	if err != nil {
		return filled{}, fmt.Errorf("%s: %w", path, err)
	}
	if firmware == "" {
		firmware = found
	}
	if err := place(info, filepath.Join(w.out(), diskFile)); err != nil {
		return filled{}, fmt.Errorf("copy %s: %w", path, err)
	}
	return filled{firmware: firmware, virtualSize: info.VirtualSize}, nil
}

func copyFile(ctx context.Context, to, from string, rep *reporter) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer closeQuietly(src)
	st, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	done := int64(0)
	_, err = copyChunks(ctx, dst, src, func(n int64) {
		done += n
		rep.bytes("import", done, st.Size())
	})
	return errors.Join(err, dst.Close())
}

// readHead reads up to headSize bytes.
func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(f)
	return io.ReadAll(io.LimitReader(f, headSize))
}
