package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// checkedDir has for each object the times of its files at which their digests were found right.
const checkedDir = "checked"

func (s *Store) checkedPath(id string) string { return s.path(checkedDir, id) }

// intact finds out whether the object's files are what was recorded. Sizes and times are looked at each time; content only
// where a time is not that of the last look at it, since digests of a disk take a second.
func (s *Store) intact(ctx context.Context, name, dir string, m *meta) error {
	if err := m.checkSizes(dir); err != nil {
		return err
	}
	times, err := m.times(dir)
	if err != nil {
		return err
	}
	if seen, err := os.ReadFile(s.checkedPath(m.id())); err == nil && string(seen) == times {
		return nil
	}
	if err := s.compare(ctx, name, dir, m); err != nil {
		return err
	}
	s.checked(dir, m)
	return nil
}

// checked notes that the files are right as they are. Another user's store may refuse; then they are read again next time.
func (s *Store) checked(dir string, m *meta) {
	times, err := m.times(dir)
	if err == nil {
		err = os.WriteFile(s.checkedPath(m.id()), []byte(times), 0o644)
	}
	if err != nil {
		s.log.Debug("it was not noted that an image is intact", "object", m.id(), "err", err)
	}
}

// times are those at which the object's files were last changed, as text.
func (m *meta) times(dir string) (string, error) {
	var text strings.Builder
	for _, name := range m.names() {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "%s %d\n", name, st.ModTime().UnixNano())
	}
	return text.String(), nil
}

// compare reads the object's files, and names each whose digest is not the recorded one.
func (s *Store) compare(ctx context.Context, name, dir string, m *meta) error {
	files, err := hashDir(ctx, dir, s.report(name))
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range m.names() {
		if want, got := m.Files[name], files[name]; got != want {
			problems = append(problems, fmt.Errorf("%s has sha256 %s, was made with %s", filepath.Join(dir, name), got.SHA256, want.SHA256))
		}
	}
	if digest := m.contentDigest(); digest != m.Digest {
		problems = append(problems, fmt.Errorf("%s: digest %s does not belong to its files", filepath.Join(dir, metaFile), m.Digest))
	}
	return errors.Join(problems...)
}
