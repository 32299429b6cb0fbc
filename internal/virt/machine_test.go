package virt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"libvirt.org/go/libvirt"

	"ionlab/internal/lab"
)

func TestLifecycleEventsInTheLabsWords(t *testing.T) {
	for _, test := range []struct {
		event  libvirt.DomainEventType
		detail int
		want   lab.Change
	}{
		{libvirt.DOMAIN_EVENT_STARTED, int(libvirt.DOMAIN_EVENT_STARTED_BOOTED), lab.Change{State: lab.Running, Reason: "running"}},
		{libvirt.DOMAIN_EVENT_RESUMED, int(libvirt.DOMAIN_EVENT_RESUMED_UNPAUSED), lab.Change{State: lab.Running, Reason: "running"}},
		{libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_PAUSED), lab.Change{State: lab.Paused, Reason: "paused"}},
		{libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_IOERROR), lab.Change{State: lab.Stuck, Reason: "QEMU paused it after an I/O error (is the host's disk full?)"}},
		{libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_WATCHDOG), lab.Change{State: lab.Stuck, Reason: "its watchdog paused it"}},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_SHUTDOWN), lab.Change{State: lab.Stopped, Reason: "the guest shut down"}},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_DESTROYED), lab.Change{State: lab.Stopped, Reason: "destroyed on the host"}},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_CRASHED), lab.Change{State: lab.Stopped, Reason: "the guest crashed"}},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_FAILED), lab.Change{State: lab.Stopped, Reason: "its QEMU process ended unasked (killed, or out of memory?)"}},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_SAVED), lab.Change{State: lab.Stopped, Reason: "saved"}},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_MIGRATED), lab.Change{State: lab.Stopped, Reason: "stopped"}},
		{libvirt.DOMAIN_EVENT_CRASHED, int(libvirt.DOMAIN_EVENT_CRASHED_PANICKED), lab.Change{State: lab.Stopped, Reason: "the guest's kernel panicked (pvpanic)"}},
	} {
		t.Run(fmt.Sprint(test.want.Reason, test.event, test.detail), func(t *testing.T) {
			g := NewWithT(t)
			got, ok := translate(&libvirt.DomainEventLifecycle{Event: test.event, Detail: test.detail})
			g.Expect(ok).To(BeTrue())
			g.Expect(got).To(Equal(test.want))
		})
	}
	for _, event := range []libvirt.DomainEventType{libvirt.DOMAIN_EVENT_DEFINED, libvirt.DOMAIN_EVENT_UNDEFINED, libvirt.DOMAIN_EVENT_SHUTDOWN} {
		_, ok := translate(&libvirt.DomainEventLifecycle{Event: event})
		NewWithT(t).Expect(ok).To(BeFalse(), "%v changes nothing yet", event)
	}
}

func TestChangesEndWithTheStop(t *testing.T) {
	g := NewWithT(t)
	m := &Machine{name: "a", changes: make(chan lab.Change, 4)}
	for range 10 {
		m.note(lab.Change{State: lab.Running})
	}
	g.Expect(m.changes).To(HaveLen(4), "nobody reads: the rest is dropped")
	m.note(lab.Change{State: lab.Stopped, Reason: "the last"})
	m.note(lab.Change{State: lab.Stopped, Reason: "one too many"})
	m.note(lab.Change{State: lab.Running})
	var got []lab.Change
	for c := range m.Changes() {
		got = append(got, c)
	}
	g.Expect(got).To(HaveLen(4))
	g.Expect(got[3]).To(Equal(lab.Change{State: lab.Stopped, Reason: "the last"}), "the one that counts is never dropped")
}

func TestDoOnADomainThatDoesNotRun(t *testing.T) {
	g := NewWithT(t)
	ctx := context.Background()
	m := &Machine{name: "a", changes: make(chan lab.Change, 4)}
	g.Expect(m.Do(ctx, lab.PowerOff)).To(MatchError(`power off: domain "a" is not running`), "it is not there yet")
	m.setDomain(&libvirt.Domain{})
	g.Expect(m.Do(ctx, lab.Action("explode"))).To(MatchError(`domain "a": no such action: "explode"`))
	m.note(lab.Change{State: lab.Stopped})
	g.Expect(m.Do(ctx, lab.PowerOff)).To(Succeed(), "it is what was asked for")
	g.Expect(m.Do(ctx, lab.Shutdown)).To(Succeed())
	for _, action := range []lab.Action{lab.Pause, lab.Resume, lab.Reset} {
		g.Expect(m.Do(ctx, action)).To(MatchError(string(action) + `: domain "a" is not running`))
	}
	_, err := m.Inspect(ctx)
	g.Expect(err).To(MatchError(`domain "a" is not running`))
}

func TestErrorsThatMeanGone(t *testing.T) {
	g := NewWithT(t)
	gone1 := libvirt.Error{Code: libvirt.ERR_NO_DOMAIN}
	other := libvirt.Error{Code: libvirt.ERR_OPERATION_FAILED}
	g.Expect(gone(nil)).To(Succeed())
	g.Expect(gone(gone1)).To(Succeed())
	g.Expect(gone(libvirt.Error{Code: libvirt.ERR_OPERATION_INVALID})).To(Succeed())
	g.Expect(gone(other)).To(Equal(other))
	g.Expect(vanished(fmt.Errorf("wrapped: %w", gone1))).To(BeTrue())
	g.Expect(vanished(other)).To(BeFalse())
}

func TestQEMUIsFoundByItsDomain(t *testing.T) {
	g := NewWithT(t)
	name := fmt.Sprintf("virt-test-%d", os.Getpid())
	dir := t.TempDir()
	pid, command := findQEMU(dir, name)
	g.Expect(pid).To(BeZero())
	g.Expect(command).To(BeEmpty())
	cmd := exec.Command("sh", "-c", "echo up; read never", "it's", "guest="+name+",debug-threads=on", "path="+dir+"/agent")
	stdin, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	defer stdin.Close()
	p, err := spawn(cmd)
	g.Expect(err).NotTo(HaveOccurred())
	defer end(t, p)
	g.Eventually(p.output.String).WithTimeout(patience).Should(Equal("up"))
	pid, command = findQEMU(dir, name)
	g.Expect(pid).To(Equal(p.cmd.Process.Pid))
	g.Expect(command).To(Equal(`sh -c 'echo up; read never' 'it'\''s' guest=` + name + `,debug-threads=on path=` + dir + `/agent`))
	pid, _ = findQEMU(dir, name[:len(name)-1])
	g.Expect(pid).To(BeZero(), "a name is not its beginning")
	pid, _ = findQEMU(dir[:len(dir)-1], name)
	g.Expect(pid).To(BeZero(), "another owner has a domain of that name")
}

func TestQuoteForAShell(t *testing.T) {
	for _, argv := range [][]string{
		{"qemu-system-x86_64", "-name", "guest=a,debug-threads=on", "-m", "size=1k"},
		{"", "a b", "it's", `"$HOME"`, "`id`", `back\slash`, "*?[]{}", "<>|&;#~!()", "new\nline", "tab\there", "-x"},
	} {
		out, err := exec.Command("sh", "-c", `printf '%s\0' `+quote(argv)).Output()
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")).To(Equal(argv))
	}
	NewWithT(t).Expect(quote([]string{"plain", "a,b=c:/d.e-f_g%h@i+"})).To(Equal("plain a,b=c:/d.e-f_g%h@i+"))
}

func TestCallsThatHangEndWithTheirContext(t *testing.T) {
	g := NewWithT(t)
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithTimeoutCause(context.Background(), 20*time.Millisecond, errors.New("the spec is over"))
	defer cancel()
	err := do(ctx, "create domain \"a\"", func() error { <-release; return nil })
	g.Expect(err).To(MatchError(`create domain "a": libvirt has not answered: the spec is over`))
	broken := errors.New("broken")
	g.Expect(do(context.Background(), "ask", func() error { return broken })).To(MatchError("ask: broken"))
	g.Expect(do(context.Background(), "ask", func() error { return nil })).To(Succeed())
}

func TestHypervisorThatIsLostTakesItsMachinesAlong(t *testing.T) {
	g := NewWithT(t)
	h := &Hypervisor{log: slog.New(slog.DiscardHandler), machines: map[string]*Machine{}}
	m := &Machine{name: "a", changes: make(chan lab.Change, 4)}
	h.machines["a"] = m
	h.lost("the private libvirtd died")
	g.Expect(m.Changes()).To(Receive(Equal(lab.Change{State: lab.Stopped, Reason: "the private libvirtd died"})))
	g.Expect(m.Changes()).To(BeClosed())
	_, err := h.Create(context.Background(), "b", "<domain/>")
	g.Expect(err).To(MatchError(`create domain "b": the private libvirtd is gone`))
	g.Expect(h.Close()).To(Succeed())
	g.Expect(h.Close()).To(Succeed())
	g.Expect((*Hypervisor)(nil).Close()).To(Succeed())
}

func TestURIOfADaemon(t *testing.T) {
	NewWithT(t).Expect(URI("/run/labtest/abc/v")).To(Equal("qemu+unix:///session?socket=/run/labtest/abc/v/libvirt/libvirt-sock"))
}
