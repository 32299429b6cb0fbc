package guest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// blockSize is the unit of a tar stream.
const blockSize = 512

// maxUstarSize is the largest size that fits into a header block: eleven octal digits.
const maxUstarSize = 1<<33 - 1

// addSparse adds a file with holes, in GNU tar's sparse format 1.0 (GNU tar manual, "PAX Format, Version 1.0"), which
// archive/tar reads but does not write: an extended header with the real name and size, then a map of the data before
// the data.
func (p *packer) addSparse(f *os.File, info fs.FileInfo, as string, mode fs.FileMode, list []extent) error {
	table := sparseMap(list, info.Size())
	size := int64(len(table))
	for _, e := range list {
		size += e.length
	}
	records := paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") +
		paxRecord("GNU.sparse.name", as) + paxRecord("GNU.sparse.realsize", strconv.FormatInt(info.Size(), 10)) +
		paxRecord("mtime", unixTime(info.ModTime()))
	if size > maxUstarSize {
		records += paxRecord("size", strconv.FormatInt(size, 10))
	}
	if err := p.tar.Flush(); err != nil {
		return err
	}
	extended, err := rawHeader('x', int64(len(records)), 0o600)
	if err != nil {
		return err
	}
	header, err := rawHeader(tar.TypeReg, min(size, maxUstarSize), int64(unixBits(mode)))
	if err != nil {
		return err
	}
	for _, part := range [][]byte{extended, pad([]byte(records)), header, table} {
		if _, err := p.out.Write(part); err != nil {
			return err
		}
	}
	for _, e := range list {
		if err := p.copyExtent(p.out, f, e); err != nil {
			return err
		}
	}
	_, err = p.out.Write(make([]byte, padding(size)))
	return err
}

// copyExtent copies a part of a file.
func (p *packer) copyExtent(w io.Writer, f *os.File, e extent) error {
	part := &exactly{r: io.NewSectionReader(f, e.offset, e.length), left: e.length}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, part, p.buf); err != nil {
		return fmt.Errorf("pack %s: %w", f.Name(), err)
	}
	return nil
}

// sparseMap is the list of extents in front of the data. An empty one at the end gives the file its size.
func sparseMap(list []extent, size int64) []byte {
	if n := len(list); n == 0 || list[n-1].offset+list[n-1].length < size {
		list = append(list[:n:n], extent{size, 0})
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\n", len(list))
	for _, e := range list {
		fmt.Fprintf(&b, "%d\n%d\n", e.offset, e.length)
	}
	return pad(b.Bytes())
}

// rawHeader is one header block with a placeholder for a name.
func rawHeader(kind byte, size, mode int64) ([]byte, error) {
	var b bytes.Buffer
	header := &tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/ionlab", Size: size, Mode: mode, Format: tar.FormatUSTAR}
	if err := tar.NewWriter(&b).WriteHeader(header); err != nil {
		return nil, err
	}
	block := b.Bytes()
	if kind == tar.TypeReg {
		return block, nil
	}
	// archive/tar makes extended headers only itself: take another type, and the checksum that goes with it (POSIX.1-2017,
	// pax, ustar Interchange Format: the sum of all bytes, those of the checksum itself taken as spaces).
	block[156] = kind
	copy(block[148:156], "        ")
	sum := 0
	for _, octet := range block {
		sum += int(octet)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return block, nil
}

// paxRecord is one record of an extended header; its length counts itself.
func paxRecord(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	size := len(rest) + 1
	for len(strconv.Itoa(size))+len(rest) != size {
		size = len(strconv.Itoa(size)) + len(rest)
	}
	return strconv.Itoa(size) + rest
}

// pad fills up to whole blocks.
func pad(b []byte) []byte { return append(b, make([]byte, padding(int64(len(b))))...) }

// padding is what size lacks to whole blocks.
func padding(size int64) int64 { return (blockSize - size%blockSize) % blockSize }

// hashSparse hashes a file, holes as zeros but without reading them.
func hashSparse(h io.Writer, f *os.File, size int64, list []extent, buf []byte) error {
	var at int64
	for _, e := range append(list[:len(list):len(list)], extent{size, 0}) {
		clear(buf)
		for at < e.offset {
			n := min(e.offset-at, int64(len(buf)))
			_, _ = h.Write(buf[:n]) // A hash never fails.
			at += n
		}
		part := io.NewSectionReader(f, e.offset, e.length)
		n, err := io.CopyBuffer(struct{ io.Writer }{h}, part, buf)
		if err != nil {
			return fmt.Errorf("hash %s: %w", f.Name(), err)
		}
		if n < e.length {
			return fmt.Errorf("hash %s: it became shorter while it was read", f.Name())
		}
		at += n
	}
	return nil
}
