package guest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestConnectNamesTheStage(t *testing.T) {
	s := newServer(t)
	refuse := func(context.Context) (net.Conn, error) { return nil, errors.New("no route") }
	silent := func(context.Context) (net.Conn, error) {
		near, far, err := socketPair()
		t.Cleanup(func() { _ = far.Close() })
		return near, err
	}
	closing := func(context.Context) (net.Conn, error) {
		near, far, err := socketPair()
		_ = far.Close()
		return near, err
	}
	wrongHost, wrongKey := s.config(), s.config()
	wrongHost.HostKey = newKey(t).PublicKey()
	wrongKey.Signer = newKey(t)
	with := func(dial func(context.Context) (net.Conn, error)) Config {
		cfg := s.config()
		cfg.Dial, cfg.ConnectTimeout = dial, 100*time.Millisecond
		return cfg
	}
	for name, test := range map[string]struct {
		cfg   Config
		stage string
		want  []string
	}{
		"dial":      {with(refuse), StageDial, []string{`connect to node "alice": dial: no route`, "does not listen yet"}},
		"no banner": {with(silent), StageHandshake, []string{"handshake: no answer within 100ms"}},
		"closed":    {with(closing), StageHandshake, []string{"handshake: ssh: handshake failed: "}},
		"host key": {wrongHost, StageHandshake, []string{
			"host key mismatch: the guest shows ssh-ed25519 SHA256:", ", pinned is ssh-ed25519 SHA256:", "the seed was not applied",
		}},
		"auth": {wrongKey, StageAuth, []string{"auth: ", "unable to authenticate", "the guest refused the lab's key"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newClient(t, test.cfg)
			err := c.Connect(soon(t))
			var stage *StageError
			g.Expect(errors.As(err, &stage)).To(BeTrue(), "%v", err)
			g.Expect(stage.Stage).To(Equal(test.stage))
			for _, want := range test.want {
				g.Expect(err).To(MatchError(ContainSubstring(want)))
			}
			_, err = c.Run(soon(t), Cmd{Argv: []string{"true"}})
			g.Expect(errors.As(err, &stage)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring("run true on node")))
		})
	}
}

func TestConnectObeysItsContext(t *testing.T) {
	g := NewWithT(t)
	cfg := newServer(t).config()
	cfg.Dial = func(context.Context) (net.Conn, error) {
		near, far, err := socketPair()
		t.Cleanup(func() { _ = far.Close() })
		return near, err
	}
	c := newClient(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	g.Expect(c.Connect(ctx)).To(MatchError(context.DeadlineExceeded))
}

func TestOneConnectionIsKeptAndReopened(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	c := newClient(t, s.config())
	run := func() {
		t.Helper()
		res, err := c.Run(soon(t), Cmd{Argv: []string{"echo", "hi"}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Stdout()).To(Equal("hi\n"))
	}
	g.Expect(c.Connect(soon(t))).To(Succeed())
	g.Expect(c.Connect(soon(t))).To(Succeed())
	run()
	run()
	g.Expect(s.dials.Load()).To(BeEquivalentTo(1))
	s.hangUp()
	run()
	g.Expect(s.dials.Load()).To(BeEquivalentTo(2))
	c.Disconnect()
	run()
	g.Expect(s.dials.Load()).To(BeEquivalentTo(3))
	g.Expect(c.Close()).To(Succeed())
	g.Expect(c.Close()).To(Succeed())
	g.Expect((*Client)(nil).Close()).To(Succeed())
	_, err := c.Run(soon(t), Cmd{Argv: []string{"true"}})
	g.Expect(errors.Is(err, ErrClosed)).To(BeTrue())
	g.Expect(c.Connect(soon(t))).To(MatchError(ErrClosed))
}

func TestLostConnectionIsAnUnknownOutcome(t *testing.T) {
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		p, err := c.Start(soon(t), Cmd{Shell: "echo begun; exec sleep 300"})
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(p.out.last).Should(Equal("begun"))
		c.mu.Lock()
		k := c.conns[0]
		c.mu.Unlock()
		_ = k.wire.Conn.Close() // As when the network breaks.
		res, err := p.Wait(soon(t))
		g.Expect(res).To(BeNil())
		g.Expect(errors.Is(err, ErrOutcomeUnknown)).To(BeTrue())
		g.Expect(err).To(MatchError(And(ContainSubstring("the outcome is unknown: connection lost: "),
			ContainSubstring("last stdout: begun"))))
		g.Expect(p.ExitCode()).To(Equal(255))
		_, err = c.Run(soon(t), Cmd{Shell: "kill " + p.PID()})
		g.Expect(err).NotTo(HaveOccurred())

		done := make(chan error, 1)
		marker := filepath.Join(home, "running")
		go func() {
			_, err := c.Run(soon(t), Cmd{Argv: []string{"sh", "-c", `echo $$ >"$0"; exec sleep 300`, marker}})
			done <- err
		}()
		g.Eventually(func() string { data, _ := os.ReadFile(marker); return string(data) }).WithTimeout(10 * time.Second).ShouldNot(BeEmpty())
		c.Disconnect()
		err = <-done
		g.Expect(errors.Is(err, ErrOutcomeUnknown)).To(BeTrue())
		g.Expect(err).To(MatchError(ContainSubstring("dropped on purpose")))
		pid, err := os.ReadFile(marker)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = c.Run(soon(t), Cmd{Argv: []string{"kill", strings.TrimSpace(string(pid))}})
		g.Expect(err).NotTo(HaveOccurred())
	})
}

func TestMissingExitStatusIsAnUnknownOutcome(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	s.noStatus.Store(true)
	c := newClient(t, s.config())
	res, err := c.Run(soon(t), Cmd{Argv: []string{"true"}})
	g.Expect(res).To(BeNil())
	g.Expect(errors.Is(err, ErrOutcomeUnknown)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring("without an exit status")))
}

func TestKeepAliveEndsADeadConnection(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	cfg := s.config()
	cfg.KeepAlive, cfg.KeepAliveTimeout = 20*time.Millisecond, 200*time.Millisecond
	c := newClient(t, cfg)
	p, err := c.Start(soon(t), Cmd{Argv: []string{"sleep", "300"}})
	g.Expect(err).NotTo(HaveOccurred())
	s.mute.Store(true)
	_, err = p.Wait(soon(t))
	g.Expect(err).To(MatchError(ContainSubstring("the guest's sshd has not answered for 200ms")))
	s.mute.Store(false)
	res, err := c.Run(soon(t), Cmd{Shell: "kill " + p.PID()})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.ExitCode()).To(Equal(0))
}

func TestDeadMachineEndsEveryWait(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	dead := make(chan struct{})
	panicked := errors.New("kernel panic: not syncing")
	var isDead atomic.Bool
	cfg := s.config()
	cfg.Dead = dead
	cfg.Check = func() error {
		if isDead.Load() {
			return panicked
		}
		return nil
	}
	c := newClient(t, cfg)
	p, err := c.Start(soon(t), Cmd{Argv: []string{"sleep", "300"}})
	g.Expect(err).NotTo(HaveOccurred())
	done := make(chan error, 3)
	go func() { _, err := c.Run(soon(t), Cmd{Argv: []string{"sleep", "300"}}); done <- err }()
	go func() { _, err := p.Wait(soon(t)); done <- err }()
	blocked, stop := io.Pipe()
	defer stop.Close()
	go func() {
		done <- c.send(soon(t), upload{op: "upload", dst: "f", size: 100, content: blocked})
	}()
	g.Eventually(func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.conns[0].inUse }).Should(Equal(3))
	s.mute.Store(true)
	isDead.Store(true)
	began := time.Now()
	close(dead)
	for range 3 {
		err := <-done
		g.Expect(errors.Is(err, panicked)).To(BeTrue(), "%v", err)
		g.Expect(err).To(MatchError(ContainSubstring(`node "alice"`)))
		g.Expect(strings.Count(err.Error(), panicked.Error())).To(Equal(1), "%v", err)
	}
	g.Expect(time.Since(began)).To(BeNumerically("<", 10*time.Second))
	g.Expect(c.Connect(soon(t))).To(MatchError(panicked))
	g.Expect(c.WriteFile(soon(t), "f", nil, 0o600)).To(MatchError(panicked))
}

func TestSessionLimit(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s := newServer(t)
	s.maxSessions.Store(2)
	cfg := s.config()
	cfg.MaxConnections = 3
	c := newClient(t, cfg)
	var procs []*Process
	for range 5 {
		p, err := c.Start(soon(t), Cmd{Argv: []string{"sleep", "300"}})
		g.Expect(err).NotTo(HaveOccurred())
		procs = append(procs, p)
	}
	g.Expect(s.dials.Load()).To(BeEquivalentTo(3))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := c.Run(soon(t), Cmd{Argv: []string{"sleep", "0.01"}})
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
	wg.Wait()
	g.Expect(s.dials.Load()).To(BeEquivalentTo(3), "commands wait for a free session")
	last, err := c.Start(soon(t), Cmd{Argv: []string{"sleep", "300"}})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Run(ctx, Cmd{Argv: []string{"true"}})
	g.Expect(err).To(MatchError(MatchRegexp(`wait for a free SSH session.*: context deadline exceeded`)))
	for _, p := range append(procs, last) {
		g.Expect(p.Close()).To(Succeed(), "killing is possible although all sessions are taken")
	}

	s.maxSessions.Store(0)
	_, err = c.Run(soon(t), Cmd{Argv: []string{"true"}})
	g.Expect(err).To(MatchError(ContainSubstring("sshd refuses even the first one (MaxSessions 0?)")))
}
