package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// writeSSHConfig writes what OpenSSH needs to reach the nodes by name: the client key, the known host keys and an
// ssh_config. ssh -F, scp -F, sftp -F, rsync -e and Ansible take it.
func (l *Lab) writeSSHConfig() error {
	key := l.runDir("key")
	if err := os.WriteFile(key, []byte(l.key.Private), 0o600); err != nil {
		return fmt.Errorf("write the lab's key: %w", err)
	}
	known := l.runDir("known_hosts")
	var hosts, config strings.Builder
	fmt.Fprintf(&config, "# Lab %s, made by labtest from %s. It goes when the lab does.\n", l.ID(), l.topo.File)
	for _, node := range l.nodes {
		if err := node.writeVisitorNote(); err != nil {
			return err
		}
		fmt.Fprintf(&hosts, "%s %s\n", node.Name(), strings.TrimSpace(node.hostKey.Public))
		fmt.Fprintf(&config, "Host %s\n    ProxyCommand %s\n", node.Name(), percent(proxyCommand(node.files.ssh)))
	}
	fmt.Fprintf(&config, "Host *\n    User root\n    IdentityFile %s\n    IdentitiesOnly yes\n    UserKnownHostsFile %s\n"+
		"    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    PasswordAuthentication no\n    LogLevel ERROR\n", sshWord(key), sshWord(known))
	if err := os.WriteFile(known, []byte(hosts.String()), 0o600); err != nil {
		return fmt.Errorf("write the lab's host keys: %w", err)
	}
	if err := os.WriteFile(l.SSHConfig(), []byte(config.String()), 0o600); err != nil {
		return fmt.Errorf("write the lab's ssh_config: %w", err)
	}
	return nil
}

// proxyCommand joins ssh's standard input and output to a unix socket. `labtest up` is its own tool for that; in a
// test process it is netcat's.
func proxyCommand(socket string) string {
	if self, err := os.Executable(); err == nil && filepath.Base(self) == "labtest" {
		return shellQuote(self) + " connect " + shellQuote(socket)
	}
	if path, err := exec.LookPath("labtest"); err == nil {
		return shellQuote(path) + " connect " + shellQuote(socket)
	}
	return "nc -U " + shellQuote(socket)
}

// sshWord writes a path as one word of ssh_config(5).
func sshWord(path string) string { return `"` + percent(path) + `"` }

// percent keeps ssh from taking what follows a percent sign for a token.
func percent(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
