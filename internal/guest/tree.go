package guest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tree is a folder, or one sparse file, on its way into the guest as a tar stream.
type tree struct {
	op, src, dst string // op is "upload" or "put"
	owner        string
	base         string      // for a file: its name in dst when that is a directory
	mode         fs.FileMode // for a file
	file         *os.File    // nil for a folder
}

// Names inside the stream.
const (
	treeContent = "content"
	treeSums    = "sums"
)

// receiveTree is the guest's side of sendTree: it unpacks next to the target, checks every file against the list that
// comes last in the stream, and renames. An existing directory is merged into, folder by folder.
// tar waits for a full mebibyte each time (-B -b 2048): woken for every packet, an emulated processor took 1.0 s where it
// takes 0.6 s for a thousand small files.
const receiveTree = resolveTarget + `
if [ -n "$base" ]; then [ ! -d "$dst" ] || die "$dst: Is a directory"
elif [ -e "$dst" ] && [ ! -d "$dst" ]; then die "$dst: Not a directory"; fi
make_parent
tmp=$parent/.ionlab-$id
(umask 077; mkdir -- "$tmp") || exit 1
trap 'rm -rf -- "$tmp"' EXIT
trap 'exit 1' HUP INT TERM PIPE
printf '%s\n' "$tmp"
tar -x -p -B -b 2048 --no-same-owner -f - -C "$tmp" || exit 1
[ -f "$tmp/sums" ] || die "the transfer ended early"
if [ -s "$tmp/sums" ]; then
  (cd -- "$tmp" && sha256sum --check --quiet --strict sums) >&2 || die "checksum mismatch"
fi
if [ -n "$owner" ]; then chown -R -h -- "$owner" "$tmp/content" || exit 1; fi
merge() {
  for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    if [ -d "$entry" ] && [ ! -L "$entry" ] && [ -d "$2/${entry##*/}" ]; then
      merge "$entry" "$2/${entry##*/}" || return 1
    else set -- "$@" "$entry"
    fi
  done
  [ $# -eq 2 ] && return 0
  into=$2; shift 2
  mv -f -t "$into" -- "$@"
}
if [ -z "$base" ] && [ -d "$dst" ]; then merge "$tmp/content" "$dst"
else mv -f -T -- "$tmp/content" "$dst"; fi || exit 1
`

// sendTree streams a tree: nothing is held in memory, and a thousand small files cost one command.
func (c *Client) sendTree(ctx context.Context, t tree) error {
	if err := checkPath(t.dst); err != nil {
		return err
	}
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	c.wg.Go(func() {
		err := t.pack(writer)
		_ = writer.CloseWithError(err)
		packed <- err
	})
	cmd := c.guestCmd(receiveTree, trimSlashes(t.dst), t.base, randomID(), t.owner, "", "", "")
	err := c.receive(ctx, cmd, bulk{reader, t.size()}, t.op, t.dst)
	_ = reader.CloseWithError(errors.New("the guest stopped reading"))
	// What went wrong on the host explains what the guest then says, but not the other way round.
	if packErr := <-packed; packErr != nil && (err == nil || errors.Is(err, packErr)) {
		return packErr
	}
	return err
}

// size is about how much the tree has to send. What cannot be read now is for pack to report.
func (t tree) size() (n int64) {
	_ = filepath.WalkDir(t.src, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // see above.
		}
		if info, err := entry.Info(); err == nil {
			n += occupied(info)
		}
		return nil
	})
	return n
}

// packer writes a tar stream and notes the digest of each file.
type packer struct {
	out  *bufio.Writer
	tar  *tar.Writer
	sums bytes.Buffer
	buf  []byte
}

// pack writes the tree as a tar stream, the list of digests last.
func (t tree) pack(w io.Writer) error {
	p := &packer{out: bufio.NewWriterSize(w, copyBuffer), buf: make([]byte, copyBuffer)}
	p.tar = tar.NewWriter(p.out)
	var err error
	if t.file != nil {
		err = p.addOpen(t.file, treeContent, t.mode)
	} else {
		err = p.addFolder(t.src)
	}
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: treeSums, Mode: 0o600, Size: int64(p.sums.Len())}
	if err := p.tar.WriteHeader(header); err != nil {
		return err
	}
	if _, err := p.tar.Write(p.sums.Bytes()); err != nil {
		return err
	}
	if err := p.tar.Close(); err != nil {
		return err
	}
	return p.out.Flush()
}

// addFolder adds a folder with all that is in it.
func (p *packer) addFolder(root string) error {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return p.add(name, path.Join(treeContent, filepath.ToSlash(rel)))
	})
}

// add adds one file, folder or symlink.
func (p *packer) add(name, as string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	header := &tar.Header{
		Name: as, Mode: int64(unixBits(info.Mode())), ModTime: info.ModTime(), Format: tar.FormatPAX,
	}
	switch info.Mode().Type() {
	case 0:
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(p.addOpen(f, as, info.Mode()), f.Close())
	case fs.ModeDir:
		header.Typeflag = tar.TypeDir
		header.Name += "/"
	case fs.ModeSymlink:
		header.Typeflag = tar.TypeSymlink
		if header.Linkname, err = os.Readlink(name); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is neither a file, a folder nor a symlink (%s)", name, info.Mode().Type())
	}
	return p.tar.WriteHeader(header)
}

// addOpen adds a regular file, as a sparse one if it has holes.
func (p *packer) addOpen(f *os.File, as string, mode fs.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum := sha256.New()
	if isSparse(info) {
		list, err := extents(f, info.Size())
		if err != nil {
			return err
		}
		if err := p.addSparse(f, info, as, mode, list); err != nil {
			return err
		}
		if err := hashSparse(sum, f, info.Size(), list, p.buf); err != nil {
			return err
		}
	} else {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: as, Mode: int64(unixBits(mode)), Size: info.Size(), ModTime: info.ModTime(), Format: tar.FormatPAX,
		}
		if err := p.tar.WriteHeader(header); err != nil {
			return err
		}
		body := &exactly{r: io.TeeReader(f, sum), left: info.Size()}
		if _, err := io.CopyBuffer(struct{ io.Writer }{p.tar}, body, p.buf); err != nil {
			return fmt.Errorf("pack %s: %w", f.Name(), err)
		}
	}
	p.sums.WriteString(sumLine(hex.EncodeToString(sum.Sum(nil)), as))
	return nil
}

// sumLine is a line that sha256sum --check reads; names with unusual bytes are escaped as it does itself (coreutils
// manual, md5sum invocation).
func sumLine(sum, name string) string {
	escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
	if escaped != name {
		sum = `\` + sum
	}
	return sum + "  " + escaped + "\n"
}
