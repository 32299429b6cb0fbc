package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// fakeTools stands in for the host's tools: builds write a few bytes, and qemu-img knows what the test says.
type fakeTools struct {
	mu      sync.Mutex
	absent  map[string]bool
	calls   []string
	builds  int
	missing []string // packages that no archive has
	fail    error    // of the next build script
	gate    chan struct{}
	info    string // what qemu-img info prints
	check   error
	head    []byte
}

type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e exitError) ExitCode() int { return int(e) }

func (f *fakeTools) Find(tool string) error {
	if f.absent[tool] {
		return errors.New("not found")
	}
	return nil
}

func (f *fakeTools) Run(ctx context.Context, c command) error {
	f.mu.Lock()
	f.calls = append(f.calls, strings.Join(c.Argv, " "))
	f.mu.Unlock()
	switch {
	case c.Argv[0] == "unshare" && c.Argv[len(c.Argv)-2] == "sh":
		return f.script(ctx, c)
	case c.Argv[0] == "qemu-img":
		return f.qemuImg(c)
	}
	return nil
}

func (f *fakeTools) script(ctx context.Context, c command) error {
	env := map[string]string{}
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.builds++
	c.Line("STAGE packages")
	if env["PACKAGES"] != "" && len(f.missing) > 0 {
		for _, p := range f.missing {
			c.Line("MISSING " + p)
		}
		return exitError(exitMissing)
	}
	if f.fail != nil {
		err := f.fail
		f.fail = nil
		return err
	}
	out := map[string]string{
		"disk.raw": fmt.Sprintf("disk %d %s", f.builds, strings.Repeat("x", 9000)), kernelFile: "kernel", initrdFile: "initrd", manifestFile: "a 1 all\n",
	}
	if env["BASE"] == "" {
		out[archiveFile] = "archive"
	}
	for name, text := range out {
		if err := os.WriteFile(filepath.Join(env["OUT"], name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeTools) qemuImg(c command) error {
	switch c.Argv[1] {
	case "info":
		_, err := c.Out.Write([]byte(f.info))
		return err
	case "check":
		return f.check
	case "dd":
		return os.WriteFile(strings.TrimPrefix(c.Argv[len(c.Argv)-1], "of="), f.head, 0o600)
	case "convert":
		text, err := os.ReadFile(c.Argv[len(c.Argv)-2])
		if err != nil {
			return err
		}
		return os.WriteFile(c.Argv[len(c.Argv)-1], text, 0o600)
	}
	return fmt.Errorf("unexpected: %v", c.Argv)
}

func (f *fakeTools) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.builds
}

const qcow2Info = `{"format": "qcow2", "virtual-size": 5368709120}`

// bootSector is the beginning of a disk that boots by BIOS.
func bootSector() []byte {
	head := make([]byte, headSize)
	head[510], head[511] = 0x55, 0xaa
	return head
}

// clock is a clock that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newStore opens a store with fake tools.
func newStore(t *testing.T, change func(*Config)) (*Store, *fakeTools) {
	t.Helper()
	g := NewWithT(t)
	cfg := Config{Dir: filepath.Join(t.TempDir(), "images"), Arch: "amd64"}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	g.Expect(err).NotTo(HaveOccurred())
	tools := &fakeTools{info: qcow2Info, head: bootSector()}
	s.run, s.retry = tools, time.Millisecond
	for i := range s.entries {
		if s.entries[i].Recipe != nil {
			s.entries[i].Arch = "amd64"
		}
	}
	s.keyring = metaPath(t)
	return s, tools
}

// metaPath is a file that exists.
func metaPath(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring.gpg")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ensure returns the image and closes it at the end of the test.
func ensure(t *testing.T, s *Store, name string, packages ...string) *Image {
	t.Helper()
	img, err := s.Ensure(t.Context(), Request{Name: name, Packages: packages})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { NewWithT(t).Expect(img.Close()).To(Succeed()) })
	return img
}
