package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// upload is one file on its way into the guest.
type upload struct {
	op      string      // "write", "upload" or "put"
	dst     string      // the file's path, or a directory to put it into
	base    string      // its name in dst when that is a directory; "" refuses a directory
	mode    fs.FileMode // permissions, with setuid, setgid and sticky
	owner   string      // for chown; "" leaves it
	mtime   time.Time   // zero leaves it
	size    int64
	content io.Reader
}

// receiveFile is the guest's side of send. It reads exactly $size bytes and then the hexadecimal SHA-256 in a line.
// It needs coreutils only, so that the smallest images work.
const receiveFile = resolveTarget + `
[ -d "$dst" ] && die "$dst: Is a directory"
case $dst in /proc/*|/sys/*) direct=1 ;; *) [ -e "$dst" ] && [ ! -f "$dst" ] && direct=1 ;; esac
if [ -n "$direct" ]; then
  dd bs=64k iflag=fullblock,count_bytes count="$size" conv=notrunc status=none of="$dst"; exit
fi
make_parent
tmp=$parent/.ionlab-$id
umask 077
(set -C; : >"$tmp") || exit 1
trap 'rm -f -- "$tmp"' EXIT
trap 'exit 1' HUP INT TERM PIPE
printf '%s\n' "$tmp"
dd bs=64k iflag=fullblock,count_bytes count="$size" status=none >"$tmp" || exit 1
IFS= read -r want || die "the transfer ended early"
got=$(sha256sum <"$tmp") || exit 1
[ "${got%% *}" = "$want" ] || die "checksum mismatch: sent $want, on disk ${got%% *}"
if [ -n "$owner" ]; then chown -- "$owner" "$tmp" || exit 1; fi
chmod -- "$mode" "$tmp" || exit 1
if [ -n "$mtime" ]; then touch -d "@$mtime" -- "$tmp" || exit 1; fi
mv -f -T -- "$tmp" "$dst"
`

// resolveTarget is what all scripts that write begin with: the arguments, and the place that is meant.
const resolveTarget = `LC_ALL=C; export LC_ALL
die() { printf '%s\n' "$*" >&2; exit 1; }
dst=$1 base=$2 id=$3 owner=$4 mode=$5 mtime=$6 size=$7 direct=
if [ -n "$base" ] && [ -d "$dst" ]; then dst=${dst%/}/$base; fi
if [ -L "$dst" ]; then dst=$(readlink -m -- "$dst" && printf /) || exit 1; dst=${dst%?/}; fi
case $dst in */*) parent=${dst%/*}/ ;; *) parent=./ ;; esac
make_parent() { [ -d "$parent" ] || (umask 022; mkdir -p -- "$parent") || exit 1; }
`

// send writes one file.
func (c *Client) send(ctx context.Context, u upload) error {
	if err := checkPath(u.dst); err != nil {
		return err
	}
	sum := sha256.New()
	trailer := &lazily{make: func() string { return hex.EncodeToString(sum.Sum(nil)) + "\n" }}
	body := &exactly{r: io.TeeReader(u.content, sum), left: u.size}
	cmd := c.guestCmd(receiveFile, trimSlashes(u.dst), u.base, randomID(), u.owner, unixMode(u.mode), unixTime(u.mtime), strconv.FormatInt(u.size, 10))
	return c.receive(ctx, cmd, bulk{io.MultiReader(body, trailer), u.size}, u.op, u.dst)
}

// bulk is a content and about how large it is.
type bulk struct {
	io.Reader
	size int64
}

// receive runs a receiving script and removes its temporary file or folder, whose name is the first line that the
// script prints, when the script could not do that itself.
func (c *Client) receive(ctx context.Context, cmd Cmd, content bulk, op, dst string) error {
	var said bytes.Buffer
	cmd.Stdout = &said
	res, err := c.feed(ctx, cmd, content)
	if err == nil {
		return c.scriptError(op, dst, res)
	}
	tmp, _, complete := strings.Cut(said.String(), "\n")
	if !complete || !strings.HasPrefix(path.Base(tmp), ".ionlab-") || c.isDead() {
		return err
	}
	// The script was killed, or its connection lost: it may not have cleaned up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
	defer cancel()
	clean, cleanErr := c.runWith(ctx, c.guestCmd(`rm -rf -- "$1"`, tmp), nil)
	if cleanErr == nil {
		cleanErr = c.scriptError("remove", tmp, clean)
	}
	if cleanErr != nil {
		return fmt.Errorf("%w; %s may be left in the guest", err, tmp)
	}
	return err
}

// lazily is a reader that is made when it is first read: for what is only known when all before it has been sent.
type lazily struct {
	make func() string
	r    io.Reader
}

// Read implements io.Reader.
func (l *lazily) Read(p []byte) (int, error) {
	if l.r == nil {
		l.r = strings.NewReader(l.make())
	}
	return l.r.Read(p)
}

// exactly reads a known number of bytes and fails when there are fewer.
type exactly struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) && e.left > 0 {
		return n, fmt.Errorf("the source became shorter while it was read: %d bytes are missing", e.left)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// unixMode is a mode as chmod(1) wants it.
func unixMode(m fs.FileMode) string { return fmt.Sprintf("%04o", unixBits(m)) }

// unixBits are the permission bits of a mode as the kernel has them.
func unixBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range []struct {
		flag fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.flag != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// unixTime is a time as touch -d @ wants it, "" for none.
func unixTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}
