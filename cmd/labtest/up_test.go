package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/doctor"
	"ionlab/internal/image"
	"ionlab/internal/lab"
)

func topologyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pair.yaml")
	NewWithT(t).Expect(os.WriteFile(path, []byte("nodes: [{name: alice, memory_mb: 128}]\n"), 0o600)).To(Succeed())
	return path
}

func TestUpThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	s.app.machine = func(lab.Dirs) (lab.Host, error) { return fakeHost{image: broken}, nil }
	evidence := t.TempDir()
	got := s.run(t.Context(), "up", "--artifacts", evidence, topologyFile(t))
	g.Expect(got.status).To(Equal(1))
	g.Expect(got.err).To(ContainSubstring("03:04:05 alice: image  debian-12\n"))
	g.Expect(got.err).To(ContainSubstring(`labtest: node "alice": image "debian-12": the mirror is on fire`))
	g.Expect(got.err).To(ContainSubstring("artifacts: " + evidence))
	g.Expect(filepath.Glob(filepath.Join(evidence, "pair", "start", "lab.json"))).To(HaveLen(1))
	g.Expect(filepath.Glob(filepath.Join(s.dirs.Run, "[0-9a-f]*"))).To(BeEmpty())
	g.Expect(filepath.Glob(filepath.Join(s.dirs.State, "*"))).To(BeEmpty())
}

// wiredHost is a host on which a lab gets as far as its networks.
type wiredHost struct{ fakeHost }

func (wiredHost) Image(context.Context, image.Request, func(image.Event)) (*image.Image, error) {
	return &image.Image{Disk: "/dev/null", Format: "raw"}, nil
}

func (wiredHost) Hypervisor(context.Context, string, *lab.Account) (lab.Hypervisor, error) {
	return noMachines{}, nil
}

func (wiredHost) Overlay(context.Context, string, string, string, int64) error {
	return errors.New("the disk is full")
}

type noMachines struct{ lab.Hypervisor }

func (noMachines) Close() error                            { return nil }
func (noMachines) Version(context.Context) (string, error) { return "fake", nil }

func TestUpKeepsTheCapturesOfTheTopology(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	s.app.machine = func(lab.Dirs) (lab.Host, error) { return wiredHost{}, nil }
	file := filepath.Join(t.TempDir(), "pair.yaml")
	g.Expect(os.WriteFile(file, []byte("captures: [{network: lan}]\nnodes: [{name: alice, memory_mb: 128}]\n"), 0o600)).To(Succeed())
	evidence := t.TempDir()
	got := s.run(t.Context(), "up", "--artifacts", evidence, file)
	path := filepath.Join(evidence, "pair", "captures", "lan.pcapng")
	g.Expect(got.err).To(And(ContainSubstring("capture of lan: "+path), MatchRegexp(`lab: impairment seed +\d+`)))
	data, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data)).To(And(HavePrefix("\x0a\x0d\x0d\x0a"), ContainSubstring("alice@lan")))
}

func TestUpIsCalledOffByItsContext(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	s.app.machine = func(lab.Dirs) (lab.Host, error) { return fakeHost{image: untilEnd}, nil }
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	got := s.run(ctx, "up", topologyFile(t))
	g.Expect(got.status).To(Equal(1), "the lab did not come up")
	g.Expect(got.err).To(HaveSuffix("labtest: start lab \"pair\": called off before it was up: context deadline exceeded\n"))
	g.Expect(filepath.Glob(filepath.Join(s.dirs.Run, "[0-9a-f]*"))).To(BeEmpty())
}

// The first ^C is handled, even where nothing reacts to it; the second one ends the process whatever it does.
func TestTheSecondInterruptKills(t *testing.T) {
	g := NewWithT(t)
	newSetting(t)
	up := startRole(t, "stubborn", "image", "up", topologyFile(t))
	g.Expect(up.Process.Signal(syscall.SIGINT)).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	g.Consistently(ended).WithTimeout(300 * time.Millisecond).ShouldNot(Receive())
	g.Expect(up.Process.Signal(syscall.SIGINT)).To(Succeed())
	g.Eventually(ended).WithTimeout(10 * time.Second).Should(Receive(MatchError(ContainSubstring("signal: interrupt"))))
}

func TestUpDescribesHowToReachTheNodes(t *testing.T) {
	g := NewWithT(t)
	for word, want := range map[string]string{"bin/labtest": "bin/labtest", "my tool": "'my tool'", "": "''", "it's": `'it'\''s'`} {
		g.Expect(shellWord(word)).To(Equal(want))
	}
}

func TestDoctor(t *testing.T) {
	for name, test := range map[string]struct {
		status doctor.Status
		want   int
	}{
		"well": {doctor.OK, 0}, "so so": {doctor.Warn, 0}, "sick": {doctor.Fail, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newSetting(t)
			s.app.machine = func(lab.Dirs) (lab.Host, error) { return fakeHost{}, nil }
			s.app.examine = func(ctx context.Context, cfg doctor.Config) doctor.Report {
				g.Expect(cfg.RunDir).To(Equal(s.dirs.Run))
				detail := cfg.KVM(ctx).Error() // the verdict of package virt gets into the report
				return doctor.Report{Status: test.status, Checks: []doctor.Check{{Name: "kvm", Status: test.status, Detail: detail}}}
			}
			got := s.run(t.Context(), "doctor")
			g.Expect(got.status).To(Equal(test.want))
			g.Expect(got.err).To(BeEmpty(), "the report says everything")
			g.Expect(got.out).To(ContainSubstring("the kernel spun"))
			got = s.run(t.Context(), "doctor", "--json")
			g.Expect(got.status).To(Equal(test.want))
			g.Expect(got.out).To(MatchJSON(`{"status": "` + string(test.status) + `", "checks": [{"name": "kvm", "status": "` +
				string(test.status) + `", "detail": "the kernel spun"}]}`))
		})
	}
}

func TestVersion(t *testing.T) {
	g := NewWithT(t)
	g.Expect(versionOf(nil)).To(HavePrefix("labtest (unknown) go1."))
	var out bytes.Buffer
	g.Expect(run(t.Context(), []string{"labtest", "version"}, streams{out: &out, err: &out})).To(Equal(0))
	g.Expect(out.String()).To(HavePrefix("labtest "))
}
