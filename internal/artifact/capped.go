package artifact

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// cappedFile keeps the first head and the last tail bytes that are written to it, in a file: its first head bytes are
// the beginning, what follows is a ring of tail bytes. So a source of any length needs neither memory nor disk.
type cappedFile struct {
	file       *os.File
	head, tail int64
	total      int64
}

// Write never fails for lack of room.
func (c *cappedFile) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		at, room := c.place()
		chunk := p[:min(int64(len(p)), room)]
		if room == 0 { // no tail is wanted
			chunk = p
		} else if _, err := c.file.WriteAt(chunk, at); err != nil {
			return written - len(p), fmt.Errorf("write %s: %w", c.file.Name(), err)
		}
		c.total += int64(len(chunk))
		p = p[len(chunk):]
	}
	return written, nil
}

// place tells where the next byte goes and how many fit there in one piece.
func (c *cappedFile) place() (at, room int64) {
	if c.total < c.head {
		return c.total, c.head - c.total
	}
	if c.tail == 0 {
		return c.head, 0
	}
	offset := (c.total - c.head) % c.tail
	return c.head + offset, c.tail - offset
}

// finish puts the result at path, with reason at its end.
func (c *cappedFile) finish(path, reason string) error {
	if c.total <= c.head+c.tail {
		return c.publish(c.file, path, c.total, reason)
	}
	out, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	dropped := c.total - c.head - c.tail
	oldest := int64(0)
	if c.tail > 0 {
		oldest = (c.total - c.head) % c.tail
	}
	marker := fmt.Sprintf("\n[labtest: %d bytes left out here, of %d]\n", dropped, c.total)
	pieces := []io.Reader{
		io.NewSectionReader(c.file, 0, c.head),
		strings.NewReader(marker),
		io.NewSectionReader(c.file, c.head+oldest, c.tail-oldest),
		io.NewSectionReader(c.file, c.head, oldest),
	}
	size, err := io.Copy(out, io.MultiReader(pieces...))
	if err == nil {
		err = c.publish(out, path, size, reason)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return nil
}

func (c *cappedFile) publish(file *os.File, path string, size int64, reason string) error {
	if _, err := file.WriteAt([]byte(reason), size); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := file.Chmod(0o644); err != nil {
		return fmt.Errorf("publish %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("publish %s: %w", path, err)
	}
	return nil
}
