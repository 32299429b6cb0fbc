package lab

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"ionlab/internal/guest"
)

func TestCloseOfALabThatNeverStarted(t *testing.T) {
	g := NewWithT(t)
	b := newBench(t, one, nil)
	g.Expect(b.Close()).To(Succeed())
	g.Expect(b.Close()).To(Succeed(), "a second time")
	g.Expect((*Lab)(nil).Close()).To(Succeed())
	g.Expect(b.Start(within(t))).To(MatchError(`start lab "one": the lab is closed`))
	g.Expect(files(t, b.cfg.Dirs)).To(BeEmpty())
	_, err := b.Dial(within(t), "alice", 22)
	g.Expect(err).To(MatchError(ErrClosed))
}

func TestStartIsOnceOnly(t *testing.T) {
	g := NewWithT(t)
	b := newBench(t, one, nil)
	b.up()
	g.Expect(b.Start(within(t))).To(MatchError(`start lab "one": it was started before; make another with New`))
	g.Expect(files(t, b.cfg.Dirs)).To(ConsistOf(b.ID(), b.ID()))
	g.Expect(status(b.node("alice"))()).To(Equal("ready"))
}

func TestCloseEndsEverything(t *testing.T) {
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	alice := b.node("alice")
	client, err := alice.Guest()
	g.Expect(err).NotTo(HaveOccurred())
	m := b.host.machine(t, "alice")
	g.Expect(b.Close()).To(Succeed())
	g.Expect(m.changes).To(BeClosed())
	g.Expect(status(alice)()).To(Equal("closed"), "not dead: it was asked for")
	g.Expect(client.Connect(within(t))).To(MatchError(ErrClosed))
	for name, operation := range operations(alice) {
		g.Expect(operation(within(t))).To(MatchError(ErrClosed), name)
	}
	g.Expect(alice.PowerOn(within(t))).To(MatchError(ErrClosed))
	_, err = b.Dial(within(t), "alice", 22)
	g.Expect(err).To(MatchError(ErrClosed))
	g.Expect(files(t, b.cfg.Dirs)).To(BeEmpty())
}

func TestCloseDuringOperations(t *testing.T) {
	g := NewWithT(t)
	b := newBench(t, two, nil)
	b.up()
	b.host.plan("alice").set(func(now *behaviour) { now.answers = []answer{{match: "sleep infinity", hang: true}} })
	alice, bob := b.node("alice"), b.node("bob")
	ctx := within(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if client, err := alice.Guest(); err == nil {
				_, err = client.Run(ctx, guest.Cmd{Argv: []string{"sleep", "infinity"}})
				NewWithT(t).Expect(err).To(HaveOccurred(), "a reboot or the close ends it")
			}
		})
		all.Go(func() { _ = alice.Reboot(ctx) })
		all.Go(func() { _ = errors.Join(bob.PowerOff(ctx), bob.PowerOn(ctx)) })
		all.Go(func() {
			for ctx.Err() == nil && !b.isClosed() {
				_, _, _, _ = b.ID(), b.SSHConfig(), alice.ConsoleLines(3), alice.Stages()
			}
		})
	}
	time.AfterFunc(50*time.Millisecond, func() { all.Go(func() { NewWithT(t).Expect(b.Close()).To(Succeed()) }) })
	for range 2 {
		g.Eventually(b.isClosed).WithTimeout(patience).Should(BeTrue())
		g.Expect(b.Close()).To(Succeed())
	}
	all.Wait()
	g.Expect(ctx.Err()).NotTo(HaveOccurred())
	g.Expect(files(t, b.cfg.Dirs)).To(BeEmpty())
}

// steps are the places of a start, with what leads there.
var steps = map[string]func(*bench){
	"image":      func(b *bench) { b.host.holdAt("image") },
	"hypervisor": func(b *bench) { b.host.holdAt("hypervisor") },
	"overlay":    func(b *bench) { b.host.holdAt("overlay") },
	"create":     func(b *bench) { b.host.holdAt("create") },
	"kernel":     func(b *bench) { b.host.plan("alice").set(func(now *behaviour) { now.silent = true }) },
	"sshd":       func(b *bench) { b.host.plan("alice").set(func(now *behaviour) { now.noSSH = true }) },
	"login":      func(b *bench) { b.host.plan("alice").set(func(now *behaviour) { now.refusesKey = true }) },
	"cloud-init": func(b *bench) {
		b.host.plan("alice").set(func(now *behaviour) { now.answers = []answer{{match: "result.json", hang: true}} })
	},
	"units": func(b *bench) {
		b.host.plan("alice").set(func(now *behaviour) { now.answers = []answer{{match: "is-system-running", hang: true}} })
	},
}

// reach waits until a start has come to a step.
func (b *bench) reach(step string) {
	b.t.Helper()
	g := NewWithT(b.t)
	switch step {
	case "image", "hypervisor", "overlay", "create":
		g.Eventually(b.host.reached).WithTimeout(patience).Should(Receive(Equal(step)))
	default:
		g.Eventually(status(b.node("alice"))).WithTimeout(patience).Should(Equal("waiting for " + step))
	}
}

func TestCancelDuringEachStepLeavesNothing(t *testing.T) {
	for step, lead := range steps {
		t.Run(step, func(t *testing.T) {
			g := NewWithT(t)
			before := goleak.IgnoreCurrent()
			b := newBench(t, two, nil)
			lead(b)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			done := make(chan error, 1)
			go func() { done <- b.Start(ctx) }()
			b.reach(step)
			cause := errors.New("the user pressed ^C")
			cancel(cause)
			var err error
			g.Eventually(done).WithTimeout(atOnce).Should(Receive(&err))
			g.Expect(err).To(MatchError(cause))
			g.Expect(b.Close()).To(Succeed())
			g.Expect(files(t, b.cfg.Dirs)).To(BeEmpty())
			g.Expect(goleak.Find(before)).To(Succeed())
		})
	}
}

func TestCloseDuringEachStepEndsTheStart(t *testing.T) {
	for step, lead := range steps {
		t.Run(step, func(t *testing.T) {
			g := NewWithT(t)
			before := goleak.IgnoreCurrent()
			b := newBench(t, two, nil)
			lead(b)
			done := make(chan error, 1)
			ctx := within(t)
			go func() { done <- b.Start(ctx) }()
			b.reach(step)
			g.Expect(b.Close()).To(Succeed())
			var err error
			g.Expect(done).To(Receive(&err), "Close waits for Start")
			g.Expect(err).To(MatchError(ErrClosed))
			g.Expect(files(t, b.cfg.Dirs)).To(BeEmpty())
			g.Expect(goleak.Find(before)).To(Succeed())
		})
	}
}
