package labtest

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
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"ionlab/internal/guest"
)

// patience bounds what takes milliseconds.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	// A preview of specs leaves Ginkgo's handler of interrupts behind.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(
		"github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2"))
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newGuest returns a way into a guest that is this machine: an SSH server in the test's process which really runs
// commands.
func newGuest(t testing.TB, change func(*guest.Config)) *guest.Client {
	t.Helper()
	g := NewWithT(t)
	hostKey, clientKey := newKey(t), newKey(t)
	dir, err := os.MkdirTemp("", "guest") // short: it holds a socket
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "sshd"))
	g.Expect(err).NotTo(HaveOccurred())
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serve(conn, hostKey, clientKey.PublicKey()) })
		}
	})
	cfg := guest.Config{
		Name: "alice", Signer: clientKey, HostKey: hostKey.PublicKey(),
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", listener.Addr().String())
		},
	}
	if change != nil {
		change(&cfg)
	}
	client := guest.New(cfg)
	t.Cleanup(func() { NewWithT(t).Expect(client.Close()).To(Succeed()) })
	return client
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func serve(raw net.Conn, hostKey ssh.Signer, client ssh.PublicKey) {
	defer raw.Close()
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(client.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	cfg.AddHostKey(hostKey)
	_, chans, reqs, err := ssh.NewServerConn(raw, cfg)
	if err != nil {
		return
	}
	var sessions sync.WaitGroup
	defer sessions.Wait()
	sessions.Go(func() { ssh.DiscardRequests(reqs) })
	for nc := range chans {
		if ch, requests, err := nc.Accept(); err == nil {
			sessions.Go(func() { session(ch, requests) })
		}
	}
}

func session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	var running sync.WaitGroup
	defer running.Wait()
	for req := range reqs {
		_ = req.Reply(req.Type == "exec", nil)
		if req.Type == "exec" {
			var m struct{ Command string }
			_ = ssh.Unmarshal(req.Payload, &m)
			running.Go(func() { run(ch, m.Command) })
		}
	}
}

func run(ch ssh.Channel, line string) {
	defer ch.Close()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	var input sync.WaitGroup
	defer input.Wait()
	input.Go(func() { _, _ = io.Copy(stdin, ch); _ = stdin.Close() })
	_ = cmd.Wait()
	status := struct{ Code uint32 }{uint32(max(cmd.ProcessState.ExitCode(), 0))}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(status))
	_ = ch.Close()
}

// result runs a command on the guest.
func result(t testing.TB, client *guest.Client, argv ...string) *Result {
	t.Helper()
	res, err := client.Run(within(t), guest.Cmd{Argv: argv})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return &Result{res}
}
