package savefile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The form of libvirt's header (virQEMUSaveHeader): a magic, five numbers in the host's order, of which the second is the
// length of the definition that follows and the fourth says how the rest is compressed, and 56 bytes that are unused.
const (
	libvirtMagic  = "LibvirtQemudSave"
	libvirtHeader = 16 + 5*4 + 14*4
	maxDefinition = 64 << 20
)

// The form of QEMU's stream (migration/qemu-file-types.h, savevm.h). Numbers are big-endian.
const (
	streamMagic   = "QEVM\x00\x00\x00\x03"
	configuration = 0x07
	sectionStart  = 0x01
	sectionPart   = 0x02
	sectionEnd    = 0x03
	sectionFooter = 0x7e
	ramVersion    = 4
	maxBlock      = 1 << 42 // bytes
)

// The flags of a record of the section "ram", in the low bits of an offset (migration/ram.c).
const (
	pageSize     = 4096
	flagZero     = 0x02
	flagSizes    = 0x04
	flagPage     = 0x08
	flagEnd      = 0x10
	flagContinue = 0x20
)

// splitter copies a stream without the pages of one block, and puts these into an image.
type splitter struct {
	in    *bufio.Reader
	out   *bufio.Writer
	image *image
	names Names

	source string // what the block of the guest's memory is called in the stream
	size   int64  // of that block, in bytes
	block  string // the one that the last page was of
	page   [pageSize]byte
}

func (s *splitter) run(ctx context.Context) error {
	if err := s.header(); err != nil {
		return unexpected(err)
	}
	for {
		last, err := s.section(ctx)
		if err != nil {
			return unexpected(err)
		}
		if last {
			// What is left are the devices; pages come no more.
			_, err := io.Copy(s.out, s.in)
			return err
		}
	}
}

// header copies all that comes before the first section.
func (s *splitter) header() error {
	head, err := s.copied(libvirtHeader)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte(libvirtMagic)) {
		return fmt.Errorf("%w: it does not begin as libvirt's files do", ErrForm)
	}
	numbers := head[len(libvirtMagic):]
	version, length, format := binary.NativeEndian.Uint32(numbers), binary.NativeEndian.Uint32(numbers[4:]), binary.NativeEndian.Uint32(numbers[12:])
	if version != 2 || format != 0 || length > maxDefinition {
		return fmt.Errorf("%w: version %d, compression %d, a definition of %d bytes", ErrForm, version, format, length)
	}
	if _, err := io.CopyN(s.out, s.in, int64(length)); err != nil {
		return err
	}
	magic, err := s.copied(len(streamMagic))
	if err != nil {
		return err
	}
	if string(magic) != streamMagic {
		return fmt.Errorf("%w: the machine's state begins with %q", ErrForm, magic)
	}
	// The machine's name is all that QEMU says of its configuration by default.
	kind, err := s.copied(1 + 4)
	if err != nil {
		return err
	}
	name := binary.BigEndian.Uint32(kind[1:])
	if kind[0] != configuration || name > 255 {
		return fmt.Errorf("%w: section %#x instead of a configuration", ErrForm, kind[0])
	}
	_, err = s.copied(int(name))
	return err
}

// section copies a section of memory. The last one says so.
func (s *splitter) section(ctx context.Context) (last bool, err error) {
	head, err := s.copied(1 + 4)
	if err != nil {
		return false, err
	}
	switch head[0] {
	case sectionStart:
		err = s.begin()
	case sectionPart, sectionEnd:
	default:
		return false, fmt.Errorf("%w: section %#x before the end of the memory", ErrForm, head[0])
	}
	if err != nil {
		return false, err
	}
	for more := true; more; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if more, err = s.record(); err != nil {
			return false, err
		}
	}
	foot, err := s.copied(1 + 4)
	if err != nil {
		return false, err
	}
	if foot[0] != sectionFooter || !bytes.Equal(foot[1:], head[1:]) {
		return false, fmt.Errorf("%w: a section of memory ends with %x", ErrForm, foot)
	}
	if head[0] == sectionEnd && s.source == "" {
		return false, fmt.Errorf("%w: it has no block called %q", ErrForm, s.names.From)
	}
	return head[0] == sectionEnd, nil
}

// begin copies what the first section has more than others: its name, instance and version.
func (s *splitter) begin() error {
	name, err := s.name()
	if err != nil {
		return err
	}
	s.putName(name)
	versions, err := s.copied(4 + 4)
	if err != nil {
		return err
	}
	if version := binary.BigEndian.Uint32(versions[4:]); name != "ram" || version != ramVersion {
		return fmt.Errorf("%w: section %q of version %d instead of the memory's", ErrForm, name, version)
	}
	return nil
}

// record copies a record of a section of memory, or moves the page in it to the image. The last one of the section is
// followed by no more.
func (s *splitter) record() (more bool, err error) {
	var number [8]byte
	if _, err := io.ReadFull(s.in, number[:]); err != nil {
		return false, err
	}
	value := binary.BigEndian.Uint64(number[:])
	flags, at := value%pageSize, int64(value&^(pageSize-1)) //nolint:gosec // checked against the size of the block.
	switch flags &^ flagContinue {
	case flagEnd:
		_, err = s.out.Write(number[:])
		return false, err
	case flagSizes:
		_, _ = s.out.Write(number[:]) // a buffered writer keeps its error
		return true, s.sizes(at)
	case flagZero, flagPage:
		return true, s.move(number[:], flags, at)
	}
	return false, fmt.Errorf("%w: a record of memory with flags %#x", ErrForm, flags)
}

// sizes copies the list of blocks, and gives the guest's memory its new name.
func (s *splitter) sizes(total int64) error {
	for total > 0 {
		name, err := s.name()
		if err != nil {
			return err
		}
		var number [8]byte
		if _, err := io.ReadFull(s.in, number[:]); err != nil {
			return err
		}
		size := int64(binary.BigEndian.Uint64(number[:])) //nolint:gosec // checked in the next line.
		if size <= 0 || size > total || size > maxBlock {
			return fmt.Errorf("%w: block %q has %d bytes of %d", ErrForm, name, size, total)
		}
		total -= size
		if s.source == "" && slices.Contains(s.names.From, name) {
			s.source, s.size, name = name, size, s.names.To
			if err := s.image.file.Truncate(size); err != nil {
				return err
			}
		}
		s.putName(name)
		_, _ = s.out.Write(number[:]) // as above
	}
	return nil
}

// move puts a page of the guest's memory into the image, and copies any other.
func (s *splitter) move(number []byte, flags uint64, at int64) error {
	var name string
	if flags&flagContinue == 0 {
		var err error
		if name, err = s.name(); err != nil {
			return err
		}
		s.block = name
	}
	if s.block == "" {
		return fmt.Errorf("%w: a page of no block", ErrForm)
	}
	content := s.page[:]
	if flags&flagZero != 0 {
		content = s.page[:1]
	}
	if _, err := io.ReadFull(s.in, content); err != nil {
		return err
	}
	if s.block != s.source {
		_, _ = s.out.Write(number) // as above
		if flags&flagContinue == 0 {
			s.putName(name)
		}
		_, err := s.out.Write(content)
		return err
	}
	switch {
	case at < 0 || at >= s.size:
		return fmt.Errorf("%w: a page at %d of a block of %d bytes", ErrForm, at, s.size)
	case flags&flagZero == 0:
		return s.image.put(at, content)
	case content[0] != 0:
		return fmt.Errorf("%w: a page full of %#x", ErrForm, content[0])
	}
	return s.image.clear(at)
}

// copied copies so many bytes, and returns them.
func (s *splitter) copied(n int) ([]byte, error) {
	data := make([]byte, n)
	if _, err := io.ReadFull(s.in, data); err != nil {
		return nil, err
	}
	_, err := s.out.Write(data)
	return data, err
}

// name reads a name with its length before it.
func (s *splitter) name() (string, error) {
	length, err := s.in.ReadByte()
	if err != nil {
		return "", err
	}
	data := make([]byte, length)
	_, err = io.ReadFull(s.in, data)
	return string(data), err
}

func (s *splitter) putName(name string) {
	_ = s.out.WriteByte(byte(len(name))) // a buffered writer keeps its error
	_, _ = s.out.WriteString(name)
}
