package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ionlab/internal/lab"
	"ionlab/internal/virt"
)

//go:embed plain.sh
var plainScript string

// plain is the plain way. Its libvirtd is one like a lab's, started before anything is measured.
type plain struct {
	dir    string
	script string
	env    []string
	daemon *virt.Hypervisor
}

func openPlain(ctx context.Context, work string, dirs lab.Dirs, account *lab.Account, log *slog.Logger) (*plain, error) {
	p := &plain{dir: filepath.Join(work, "p"), script: filepath.Join(work, "plain.sh")}
	run := filepath.Join(work, "v")
	err := errors.Join(
		os.Mkdir(p.dir, 0o711), os.Mkdir(run, 0o700), os.WriteFile(p.script, []byte(plainScript), 0o755), //nolint:gosec // a program.
	)
	if err != nil {
		return nil, err
	}
	owner := ""
	if account != nil {
		owner = fmt.Sprintf("%d:%d", account.UID, account.GID)
	}
	p.env = append(os.Environ(), "OWNER="+owner, "VIRSH_DEFAULT_CONNECT_URI="+virt.URI(run))
	p.daemon, err = virt.Start(ctx, virt.Config{
		Dir: run, Account: (*virt.Account)(account), Log: log, Capabilities: filepath.Join(dirs.Cache, "capabilities"),
	})
	return p, err
}

// Close ends its machines with their libvirtd.
func (p *plain) Close() error {
	if p == nil {
		return nil
	}
	return p.daemon.Close()
}

// do runs a verb of the script.
func (p *plain) do(ctx context.Context, verb string, machines ...*machine) error {
	args := []string{p.script, verb}
	for _, m := range machines {
		args = append(args, m.dir)
	}
	return p.command(ctx, "sh", args...)
}

// command runs a program and wants success.
func (p *plain) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = p.env
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// machine is one of the plain way's machines: a folder that plain.sh knows.
type machine struct {
	name string
	dir  string
}

// newMachine makes the folder and its ssh_config. The forwarded port is free now.
func (p *plain) newMachine(name, clientKey, hostKey string) (_ *machine, port int, err error) {
	m := &machine{name: name, dir: filepath.Join(p.dir, name)}
	if port, err = freePort(); err != nil {
		return nil, 0, err
	}
	at := func(file string) string { return filepath.Join(m.dir, file) }
	config := fmt.Sprintf(`Host guest
  HostName 127.0.0.1
  Port %d
  User root
  IdentityFile %s
  IdentitiesOnly yes
  BatchMode yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  HostKeyAlias guest
  LogLevel ERROR
  ControlPath %s
`, port, at("key"), at("known_hosts"), at("control"))
	err = errors.Join(
		os.MkdirAll(m.dir, 0o711),
		os.WriteFile(at("name"), []byte(name+"\n"), 0o600),
		os.WriteFile(at("key"), []byte(clientKey), 0o600),
		os.WriteFile(at("known_hosts"), []byte("guest "+hostKey+"\n"), 0o600),
		os.WriteFile(at("ssh_config"), []byte(config), 0o600),
	)
	return m, port, err
}

// remove removes the machine's folder.
func (m *machine) remove() error { return os.RemoveAll(m.dir) }

// ssh is the beginning of a command line of one of OpenSSH's programs.
func (m *machine) ssh(program string) []string {
	return []string{program, "-F", filepath.Join(m.dir, "ssh_config")}
}

func freePort() (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0") //nolint:forbidigo // it does not wait.
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // that of a TCP listener.
	return port, listener.Close()
}
