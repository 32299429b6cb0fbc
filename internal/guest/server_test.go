package guest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

// testServer is an SSH server in the test's process that really runs commands, as OpenSSH does: by the shell, in a
// session of their own, with the exit status sent as soon as the program has ended.
type testServer struct {
	hostKey     ssh.Signer
	clientKey   ssh.Signer
	home        string
	env         []string
	maxSessions atomic.Int64
	noStatus    atomic.Bool  // never report how a command ended
	mute        atomic.Bool  // take requests and do nothing
	busy        atomic.Int64 // nanoseconds that a command waits until it begins
	dials       atomic.Int64 // connections accepted so far

	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
	procs map[int]bool
	ended bool // whatever is started from now on ends at once
}

// testKey is a key pair, as a signer and for writing to a file.
type testKey struct {
	ssh.Signer
	private ed25519.PrivateKey
}

func newKey(t testing.TB) testKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return testKey{signer, key}
}

func newServer(t testing.TB) *testServer {
	t.Helper()
	s := &testServer{
		hostKey: newKey(t), clientKey: newKey(t), home: t.TempDir(), conns: map[net.Conn]bool{}, procs: map[int]bool{},
		env: []string{"PATH=" + os.Getenv("PATH")},
	}
	s.maxSessions.Store(10)
	t.Cleanup(func() { s.hangUp(); s.killAll(); s.wg.Wait() })
	return s
}

// hangUp cuts all connections, as a crash of the machine does.
func (s *testServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// killAll ends what the commands left running, as the end of the machine does.
func (s *testServer) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for pid := range s.procs {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// dial is for Config.Dial.
func (s *testServer) dial(context.Context) (net.Conn, error) {
	near, far, err := socketPair()
	if err != nil {
		return nil, err
	}
	s.dials.Add(1)
	s.mu.Lock()
	s.conns[far] = true
	s.mu.Unlock()
	s.wg.Go(func() { s.serve(far) })
	return near, nil
}

// socketPair is a connected pair of buffered byte streams; net.Pipe has no buffer and would hide what depends on one.
func socketPair() (near, far net.Conn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		conns[i], err = net.FileConn(f)
		_ = f.Close()
		if err != nil {
			return nil, nil, err
		}
	}
	return conns[0], conns[1], nil
}

func (s *testServer) serve(raw net.Conn) {
	defer func() {
		_ = raw.Close()
		s.mu.Lock()
		delete(s.conns, raw)
		s.mu.Unlock()
	}()
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(s.clientKey.PublicKey().Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	cfg.AddHostKey(s.hostKey)
	conn, chans, reqs, err := ssh.NewServerConn(raw, cfg)
	if err != nil {
		return
	}
	var sessions sync.WaitGroup
	defer sessions.Wait()
	sessions.Go(func() {
		for req := range reqs {
			if !s.mute.Load() {
				_ = req.Reply(false, nil)
			}
		}
	})
	var open atomic.Int64
	for ch := range chans {
		if open.Load() >= s.maxSessions.Load() {
			_ = ch.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		open.Add(1)
		sessions.Go(func() { defer open.Add(-1); s.session(ch) })
	}
	_ = conn.Wait()
}

func (s *testServer) session(nc ssh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	var cmd *exec.Cmd
	var outs [2]*os.File
	var work sync.WaitGroup
	for req := range reqs {
		switch {
		case s.mute.Load():
		case req.Type == "exec" && cmd == nil:
			var m struct{ Command string }
			_ = ssh.Unmarshal(req.Payload, &m)
			var watch func()
			<-time.After(time.Duration(s.busy.Load()))
			cmd, outs, watch, err = s.start(ch, m.Command, &work)
			_ = req.Reply(err == nil, nil)
			if err == nil {
				work.Go(watch)
			}
		case req.Type == "signal" && cmd != nil:
			var m struct{ Signal string }
			_ = ssh.Unmarshal(req.Payload, &m)
			err := syscall.Kill(-cmd.Process.Pid, syscall.Signal(signalExit(m.Signal).code-128))
			_ = req.Reply(err == nil, nil)
		default:
			_ = req.Reply(false, nil)
		}
	}
	if cmd != nil { // The client closed the channel: what still writes gets an error, as from OpenSSH.
		_, _ = outs[0].Close(), outs[1].Close()
	}
	work.Wait()
}

// start runs a command line as OpenSSH does. The channel is closed when the output ends or the client closes it.
func (s *testServer) start(ch ssh.Channel, line string, work *sync.WaitGroup) (cmd *exec.Cmd, outs [2]*os.File, watch func(), err error) {
	cmd = exec.CommandContext(context.Background(), "/bin/sh", "-c", line)
	cmd.Dir, cmd.Env = s.home, append([]string{"HOME=" + s.home, "USER=root"}, s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	outRead, outWrite, err1 := os.Pipe()
	errRead, errWrite, err2 := os.Pipe()
	inRead, inWrite, err3 := os.Pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, outs, nil, err
	}
	outs = [2]*os.File{outRead, errRead}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inRead, outWrite, errWrite
	err = cmd.Start()
	_, _, _ = inRead.Close(), outWrite.Close(), errWrite.Close()
	if err != nil {
		return nil, outs, nil, err
	}
	s.mu.Lock()
	s.procs[cmd.Process.Pid] = true
	if s.ended {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	s.mu.Unlock()
	work.Go(func() { _, _ = io.Copy(inWrite, ch); _ = inWrite.Close() })
	var output sync.WaitGroup
	output.Go(func() { _, _ = io.Copy(ch, outs[0]); _ = outs[0].Close() })
	output.Go(func() { _, _ = io.Copy(ch.Stderr(), outs[1]); _ = outs[1].Close() })
	watch = func() {
		_ = cmd.Wait()
		s.mu.Lock()
		delete(s.procs, cmd.Process.Pid)
		s.mu.Unlock()
		if !s.noStatus.Load() {
			s.report(ch, cmd)
		}
		output.Wait()
		_ = ch.CloseWrite()
		_ = ch.Close()
	}
	return cmd, outs, watch, nil
}

func (s *testServer) report(ch ssh.Channel, cmd *exec.Cmd) {
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		name := sshSignal(status.Signal())
		if name == "" {
			name = "SIG@openssh.com"
		}
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal        string
			Core          bool
			Message, Lang string
		}{Signal: name}))
		return
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status.ExitStatus())}))
}

// config is a client configuration for the server.
func (s *testServer) config() Config {
	return Config{
		Name: "alice", Dial: s.dial, Signer: s.clientKey, HostKey: s.hostKey.PublicKey(), LoginUser: "user",
		KeepAlive: 100 * time.Millisecond,
	}
}

// target is a guest that the table tests run against.
type target struct {
	config Config
	home   string // a folder of the test in the guest, which is this machine
}

func inProcess(t testing.TB) target {
	s := newServer(t)
	return target{config: s.config(), home: s.home}
}

// each runs a test against every target, with a client of its own.
func each(t *testing.T, test func(t *testing.T, c *Client, home string)) {
	t.Helper()
	for name, to := range targets(t) {
		t.Run(name, func(t *testing.T) { test(t, newClient(t, to.config), to.home) })
	}
}

// newClient returns a client that is closed at the test's end.
func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	cfg.killGrace = 8 * time.Second // this machine may be busy
	c := New(cfg)
	t.Cleanup(func() { NewWithT(t).Expect(c.Close()).To(Succeed()) })
	return c
}

// soon is a context for what takes seconds at most.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// shellFile writes an executable file.
func shellFile(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
