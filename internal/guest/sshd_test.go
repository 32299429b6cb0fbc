//go:build sshd

package guest

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// targets are the guests that the table tests run against. Run as root, or as a user whose own login sshd accepts:
//
//	go test -race -tags sshd ./internal/guest
func targets(t testing.TB) map[string]target {
	t.Helper()
	return map[string]target{"in-process": inProcess(t), "sshd": realSSHD(t)}
}

// realSSHD runs OpenSSH's server over socket pairs, one process per connection; nothing listens anywhere. SHLVL keeps
// bash from reading the .bashrc of whoever runs the tests.
func realSSHD(t testing.TB) target {
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Fatalf("the tag sshd asks for a real server: %v", err)
	}
	if os.Getuid() == 0 {
		_ = os.MkdirAll("/run/sshd", 0o755)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hostKey, clientKey := newKey(t), newKey(t)
	hostFile := filepath.Join(dir, "host")
	write(t, hostFile, marshalKey(t, hostKey), 0o600)
	write(t, filepath.Join(dir, "authorized"), ssh.MarshalAuthorizedKey(clientKey.PublicKey()), 0o644)
	write(t, filepath.Join(dir, "config"), []byte(fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s/authorized\n"+
		"StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nLogLevel VERBOSE\nSetEnv SHLVL=2\n", hostFile, dir)), 0o644)
	var procs sync.WaitGroup
	t.Cleanup(procs.Wait)
	dial := func(context.Context) (net.Conn, error) {
		near, far, err := socketPair()
		if err != nil {
			return nil, err
		}
		f, err := far.(*net.UnixConn).File()
		_ = far.Close()
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(context.Background(), sshd, "-i", "-f", filepath.Join(dir, "config"), "-E", filepath.Join(dir, "log"))
		cmd.Stdin, cmd.Stdout = f, f
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		_ = f.Close()
		procs.Go(func() { _ = cmd.Wait() })
		return near, nil
	}
	return target{home: t.TempDir(), config: Config{
		Name: "alice", Dial: dial, User: me.Username, Signer: clientKey, HostKey: hostKey.PublicKey(),
		KeepAlive: 100 * time.Millisecond,
	}}
}

func write(t testing.TB, name string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, data, mode); err != nil {
		t.Fatal(err)
	}
}

func marshalKey(t testing.TB, key testKey) []byte {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key.private, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}
