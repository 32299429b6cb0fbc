package guest

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What packForHost says that it sends.
const (
	kindFolder = "folder"
	kindFile   = "file"
	kindPlain  = "plain"
)

// unpackStream unpacks what packForHost sends into dir/content. An end of the stream that comes too early is
// io.ErrUnexpectedEOF: the guest then says why.
func unpackStream(r io.Reader, dir string) (kind string, _ error) {
	in := bufio.NewReaderSize(r, copyBuffer)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return "", unexpected(err)
	}
	kind = strings.TrimSuffix(string(line), "\n")
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close() // It holds a folder open and nothing else.
	switch kind {
	case kindPlain:
		u := &unpacker{root: root, buf: make([]byte, copyBuffer)}
		return kind, u.writeFile(treeContent, &tar.Header{Mode: 0o644}, in)
	case kindFile, kindFolder:
		u := &unpacker{root: root, kind: kind, buf: make([]byte, copyBuffer)}
		if err := u.unpack(tar.NewReader(in)); err != nil {
			return kind, err
		}
		_, err := io.Copy(io.Discard, in) // tar fills its last record up.
		return kind, err
	}
	return "", fmt.Errorf("the guest sent something unexpected: %q", shorten(kind, 80))
}

// unexpected makes an end of the stream an early one.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unpacker writes entries of a tar stream below a root that they cannot leave.
type unpacker struct {
	root    *os.Root
	kind    string
	folders []*tar.Header // their modes and times are set last, when nothing more is written into them
	seen    bool
	buf     []byte
}

// copyBuffer is the size of the buffers that files are copied with.
const copyBuffer = 256 << 10

func (u *unpacker) unpack(stream *tar.Reader) error {
	for {
		header, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the guest's tar stream: %w", err)
		}
		if err := u.entry(header, stream); err != nil {
			return err
		}
	}
	if !u.seen {
		return io.ErrUnexpectedEOF
	}
	for i := len(u.folders) - 1; i >= 0; i-- {
		header := u.folders[i]
		if err := u.root.Chmod(header.Name, header.FileInfo().Mode().Perm()); err != nil {
			return err
		}
		if err := u.root.Chtimes(header.Name, time.Time{}, header.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// entry writes one entry. Other types than files, folders and links are left out.
func (u *unpacker) entry(header *tar.Header, body io.Reader) error {
	name, err := u.place(header.Name)
	if err != nil {
		return err
	}
	header.Name = name
	if err := u.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("unpack %q: %w", name, err)
	}
	switch header.Typeflag {
	case tar.TypeDir:
		err = u.root.Mkdir(name, 0o700)
		if info, statErr := u.root.Lstat(name); errors.Is(err, fs.ErrExist) && statErr == nil && info.IsDir() {
			err = nil
		}
		u.folders = append(u.folders, header)
	case tar.TypeReg, tar.TypeGNUSparse:
		err = u.writeFile(name, header, body)
	case tar.TypeSymlink:
		_ = u.root.Remove(name)
		err = u.root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		target, placeErr := u.place(header.Linkname)
		if placeErr != nil {
			return placeErr
		}
		_ = u.root.Remove(name)
		err = u.root.Link(target, name)
	}
	if err != nil {
		return fmt.Errorf("unpack %q: %w", name, err)
	}
	u.seen = true
	return nil
}

// place is where an entry goes. A name that leads elsewhere was made by somebody who wants to write there.
func (u *unpacker) place(name string) (string, error) {
	if u.kind == kindFile {
		if u.seen {
			return "", fmt.Errorf("the guest sent more than the one file that was asked for: %q", name)
		}
		return treeContent, nil
	}
	clean := filepath.Clean(name)
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("the guest sent an entry that would land outside the target: %q", name)
	}
	return filepath.Join(treeContent, clean), nil
}

// writeFile writes one file, with holes where it is zero. The name is taken by a new file, never through a link.
func (u *unpacker) writeFile(name string, header *tar.Header, body io.Reader) error {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := u.root.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err = u.root.Remove(name); err == nil {
			f, err = u.root.OpenFile(name, flags, 0o600)
		}
	}
	if err != nil {
		return err
	}
	out := &sparseWriter{f: f}
	_, err = io.CopyBuffer(out, struct{ io.Reader }{body}, u.buf)
	if err == nil {
		err = out.finish()
	}
	if err == nil {
		err = f.Chmod(header.FileInfo().Mode().Perm())
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil || header.ModTime.IsZero() {
		return err
	}
	return u.root.Chtimes(name, time.Time{}, header.ModTime)
}
