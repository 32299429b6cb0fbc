package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"ionlab/internal/doctor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names are the checks of a user's report, in order.
var names = []string{
	"distribution", "kvm", "qemu", "qemu-img", "libvirtd", "tini", "namespaces", "subordinate ids", "mmdebstrap", "mke2fs",
	"ssh", "nc", "memory", "state folder", "cache folder", "run folder", "mirrors",
}

func TestAHealthyHostNeedsNothing(t *testing.T) {
	g := NewWithT(t)
	report := doctor.Run(t.Context(), healthy().config())
	g.Expect(report.Status).To(Equal(doctor.OK), report.String())
	var seen []string
	for _, check := range report.Checks {
		seen = append(seen, check.Name)
		g.Expect(check.Status).To(Equal(doctor.OK), check.Name)
		g.Expect(check.Detail).NotTo(BeEmpty(), check.Name)
		g.Expect(check.Remedy).To(BeEmpty(), check.Name)
	}
	g.Expect(seen).To(Equal(names))
}

func TestRootIsAskedOtherThings(t *testing.T) {
	g := NewWithT(t)
	m := healthy()
	m.uid = 0
	delete(m.files, "/etc/subuid")
	report := doctor.Run(t.Context(), m.config())
	g.Expect(report.Status).To(Equal(doctor.OK), report.String())
	g.Expect(find(report, "qemu user").Detail).To(ContainSubstring("libvirt-qemu"))
	g.Expect(find(report, "subordinate ids").Name).To(BeEmpty())

	m.failing["libvirt-qemu"] = errors.New("user: unknown user libvirt-qemu")
	g.Expect(find(doctor.Run(t.Context(), m.config()), "qemu user").Detail).To(Equal("machines run as qemu"))

	m.failing["qemu"] = errors.New("user: unknown user qemu")
	check := find(doctor.Run(t.Context(), m.config()), "qemu user")
	g.Expect(check.Status).To(Equal(doctor.Fail))
	g.Expect(check.Detail).To(ContainSubstring("unknown user libvirt-qemu"))
	g.Expect(check.Remedy).To(ContainSubstring("useradd --system --gid kvm"))
}

func TestAHangingCheckIsBounded(t *testing.T) {
	g := NewWithT(t)
	m := healthy()
	config := m.config()
	config.Timeout = 50 * time.Millisecond
	released := make(chan struct{})
	config.Host.Free = func(string) (uint64, error) {
		<-released // does not listen to any context
		return 0, nil
	}
	began := time.Now()
	report := doctor.Run(t.Context(), config)
	close(released)
	g.Expect(time.Since(began)).To(BeNumerically("<", 5*time.Second))
	check := find(report, "state folder")
	g.Expect(check.Status).To(Equal(doctor.Fail))
	g.Expect(check.Detail).To(MatchRegexp(`^no answer after \d+ms: context deadline exceeded$`))
	g.Expect(check.Remedy).NotTo(BeEmpty())
	g.Expect(find(report, "qemu").Status).To(Equal(doctor.OK), "the others have their answers")
}

func TestChecksRunAtTheSameTime(t *testing.T) {
	g := NewWithT(t)
	config := healthy().config()
	arrived := make(chan struct{})
	meet := func(ctx context.Context) error {
		select {
		case arrived <- struct{}{}:
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	config.KVM = meet
	config.Mirrors = []string{"http://one.example"}
	config.Host.Reach = func(ctx context.Context, _ string) error { return meet(ctx) }
	g.Expect(doctor.Run(t.Context(), config).Status).To(Equal(doctor.OK))
}

func TestACancelledRunEnds(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	config := healthy().config()
	config.KVM = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	check := find(doctor.Run(ctx, config), "kvm")
	g.Expect(check.Status).NotTo(Equal(doctor.OK))
	g.Expect(check.Detail).To(ContainSubstring("interrupted"))
}

func TestReportAsJSON(t *testing.T) {
	g := NewWithT(t)
	m := healthy()
	delete(m.programs, "tini")
	data, err := json.Marshal(doctor.Run(t.Context(), m.config()))
	g.Expect(err).NotTo(HaveOccurred())
	var report struct {
		Status string
		Checks []map[string]string
	}
	g.Expect(json.Unmarshal(data, &report)).To(Succeed())
	g.Expect(report.Status).To(Equal("fail"))
	g.Expect(report.Checks).To(ContainElement(Equal(map[string]string{
		"name": "tini", "status": "fail",
		"detail": "tini is not installed: libvirtd runs under it, because libvirt waits for seconds where PID 1 reaps late",
		"remedy": "make setup, or: sudo apt-get install --no-install-recommends tini",
	})))
	g.Expect(report.Checks).To(ContainElement(Equal(map[string]string{
		"name": "qemu-img", "status": "ok", "detail": "8.2.2 (/usr/bin/qemu-img)",
	})))
}

func TestReportAsTable(t *testing.T) {
	g := NewWithT(t)
	report := doctor.Report{Status: doctor.Fail, Checks: []doctor.Check{
		{Name: "qemu", Status: doctor.OK, Detail: "8.2.2"},
		{Name: "kvm", Status: doctor.Warn, Detail: "no /dev/kvm", Remedy: "switch it on"},
		{Name: "tini", Status: doctor.Fail, Detail: "not installed", Remedy: "make setup"},
	}}
	var written strings.Builder
	g.Expect(report.WriteText(&written)).To(Succeed())
	g.Expect(written.String()).To(Equal(strings.Join([]string{
		"ok    qemu             8.2.2",
		"warn  kvm              no /dev/kvm",
		"                       -> switch it on",
		"fail  tini             not installed",
		"                       -> make setup",
		"",
		"1 ok, 1 to look at, 1 to remedy",
		"",
	}, "\n")))
	g.Expect(report.String()).To(Equal(written.String()))
}

func find(report doctor.Report, name string) doctor.Check {
	i := slices.IndexFunc(report.Checks, func(c doctor.Check) bool { return c.Name == name })
	if i < 0 {
		return doctor.Check{}
	}
	return report.Checks[i]
}
