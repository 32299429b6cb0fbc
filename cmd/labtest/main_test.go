package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/domain"
	"ionlab/internal/image"
	"ionlab/internal/lab"
	"ionlab/internal/lock"
	"ionlab/internal/virt"
)

// roleVariable makes this test binary another program: what a signal does can only be seen from outside.
const roleVariable = "LABTEST_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "stubborn": // `labtest up` on a host that never answers
		a := newApp("labtest", streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
		a.machine = func(lab.Dirs) (lab.Host, error) { return fakeHost{image: hang}, nil }
		os.Exit(a.execute(context.Background(), os.Args[1:]))
	case "owner":
		os.Exit(beOwner(os.Args[1], os.Args[2]))
	}
	os.Exit(m.Run())
}

// beOwner holds a lab's lock and says so, until SIGTERM. How is "orderly", "careless" (leaves the files) or "deaf".
func beOwner(run, how string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	held, err := lock.Try(filepath.Join(run, "lock"), lock.Exclusive)
	if err != nil {
		return 1
	}
	defer func() { _ = held.Close() }()
	_, _ = os.Stdout.WriteString("held\n")
	for {
		<-term
		switch how {
		case "orderly":
			_ = os.RemoveAll(run)
			return 0
		case "careless":
			return 0
		}
	}
}

// startRole starts this binary in a role and waits for a line of its output.
func startRole(t *testing.T, role, line string, args ...string) *exec.Cmd {
	t.Helper()
	g := NewWithT(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	cmd.Stderr = cmd.Stdout
	g.Expect(cmd.Start()).To(Succeed())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), line) {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		g.Expect(err).NotTo(HaveOccurred(), "it printed: "+seen.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return cmd
}

// result is what a verb did.
type result struct {
	status   int
	out, err string
}

// setting is a host of a test's own.
type setting struct {
	dirs lab.Dirs
	app  *app
	in   *bytes.Buffer
}

// newSetting gives labtest empty folders and a libvirt without domains. Socket paths are short, so the folder is too.
func newSetting(t *testing.T) *setting {
	t.Helper()
	g := NewWithT(t)
	base, err := os.MkdirTemp("", "lt")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	s := &setting{dirs: lab.Dirs{Run: filepath.Join(base, "r"), State: filepath.Join(base, "s"), Cache: filepath.Join(base, "c")}}
	t.Setenv("LABTEST_RUN_DIR", s.dirs.Run)
	t.Setenv("LABTEST_STATE_DIR", s.dirs.State)
	t.Setenv("LABTEST_CACHE_DIR", s.dirs.Cache)
	t.Setenv("LABTEST_CATALOG", filepath.Join(base, "none.yaml"))
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	s.in = &bytes.Buffer{}
	s.app = newApp("labtest", streams{in: s.in})
	s.app.domains = func(context.Context, string) ([]virt.DomainInfo, error) { return nil, nil }
	s.app.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	return s
}

// run runs one verb.
func (s *setting) run(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	s.app.out, s.app.err = &out, &errs
	status := s.app.execute(ctx, args)
	return result{status, out.String(), errs.String()}
}

// lab makes a lab of a living owner (this process) on disk.
func (s *setting) lab(t *testing.T, id string, nodes ...string) string {
	t.Helper()
	g := NewWithT(t)
	run := s.leftover(t, id, nodes...)
	held, err := lock.Try(filepath.Join(run, "lock"), lock.Exclusive)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = held.Close() })
	return run
}

// leftover makes a lab whose owner is dead.
func (s *setting) leftover(t *testing.T, id string, nodes ...string) string {
	t.Helper()
	g := NewWithT(t)
	run := filepath.Join(s.dirs.Run, id)
	for _, dir := range []string{filepath.Join(run, "d"), filepath.Join(run, "s"), filepath.Join(s.dirs.State, id, "disks"), s.dirs.Cache} {
		g.Expect(os.MkdirAll(dir, 0o700)).To(Succeed())
	}
	g.Expect(os.WriteFile(filepath.Join(run, "lock"), nil, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(s.dirs.State, id, "disks", "x.qcow2"), bytes.Repeat([]byte("x"), 100<<10), 0o600)).To(Succeed())
	for _, node := range nodes {
		g.Expect(os.WriteFile(filepath.Join(run, "d", node+".ssh"), nil, 0o600)).To(Succeed())
	}
	return run
}

// domainOf is a domain as libvirt shows it.
func domainOf(t *testing.T, id, topology, node, state string, addresses map[string]string) virt.DomainInfo {
	t.Helper()
	xml, err := domain.XML(domain.Config{
		Name: id + "-" + node, UUID: "7a2f3c1e-0d4b-4c1e-9a64-2f8e5b1c9d10", MemoryMB: 512, VCPUs: 1, Accel: "tcg",
		Emulator: "/usr/bin/qemu-system-x86_64", Arch: "x86_64", Disk: domain.Disk{Path: "/d.qcow2", Format: "qcow2"},
		Console:  domain.Console{Socket: "/c.sock", Log: "/c.log"},
		Firmware: domain.Firmware{Kind: "bios"},
		Labels:   domain.Labels{Lab: id, Owner: "a test", Topology: topology, Node: node, Addresses: addresses},
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return virt.DomainInfo{Name: id + "-" + node, State: state, XML: xml}
}

// fakeHost is a host on which a lab gets as far as its image.
type fakeHost struct {
	lab.Host
	image func(context.Context) error
}

func (f fakeHost) Image(ctx context.Context, _ image.Request, _ func(image.Event)) (*image.Image, error) {
	return nil, f.image(ctx)
}

func (f fakeHost) Images() []string { return []string{"debian-12"} }

func (f fakeHost) Accelerator(context.Context, []string) (accel, reason string) {
	return virt.TCG, "the kernel spun"
}

func (f fakeHost) Hypervisor(ctx context.Context, _ string, _ *lab.Account) (lab.Hypervisor, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// hang is an image that never comes and cannot be called off.
func hang(context.Context) error { select {} }

func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func broken(context.Context) error { return errors.New("the mirror is on fire") }
