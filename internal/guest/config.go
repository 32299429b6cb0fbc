package guest

import (
	"context"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// Defaults of the durations in Config.
const (
	defaultConnectTimeout   = 60 * time.Second
	defaultKeepAlive        = 5 * time.Second
	defaultKeepAliveTimeout = 60 * time.Second
	defaultMaxConnections   = 8
)

// Config says how to reach a node and as whom. Name, Dial, Signer and HostKey are required.
type Config struct {
	// Name is the node's name, for messages.
	Name string
	// Dial opens a byte stream to the guest's sshd. It must return when its context ends.
	Dial func(ctx context.Context) (net.Conn, error)
	// User logs in; "" means root.
	User string
	// Listen opens a TCP port on the host that the guest, and nobody outside the host, can connect to: large files then
	// travel beside SSH, unencrypted. Nil sends everything by SSH.
	Listen func() (net.Listener, error)
	// Signer is the client key that the guest accepts.
	Signer ssh.Signer
	// HostKey is the only host key that is accepted.
	HostKey ssh.PublicKey
	// Env is set for every command; Cmd.Env wins over it.
	Env map[string]string
	// LoginUser is the node's ordinary user: whose login session Cmd.Session means.
	LoginUser string
	// Sudo lets file operations write as root by sudo -n when User is not root.
	Sudo bool
	// Log gets what is worth knowing but is no error; nil discards it.
	Log *slog.Logger
	// Ciphers in order of preference; empty means AES-128-GCM, ChaCha20-Poly1305, AES-128-CTR.
	Ciphers []string
	// Check returns an error when the machine is known to be dead or bad; it is asked before every operation. May be nil.
	Check func() error
	// Dead is closed when the machine is dead: every operation then ends at once with Check's error. May be nil.
	Dead <-chan struct{}
	// Observe is called after each operation, possibly from several goroutines at once. May be nil.
	Observe func(Event)
	// ConnectTimeout bounds one attempt to connect; 0 means 60 s.
	ConnectTimeout time.Duration
	// KeepAlive is the interval at which the connection is probed; 0 means 5 s.
	KeepAlive time.Duration
	// KeepAliveTimeout is how long a probe may stay unanswered before the connection counts as lost; 0 means 60 s.
	// A machine that is paused longer than that loses its running commands.
	KeepAliveTimeout time.Duration
	// MaxConnections bounds the SSH connections that are opened when sshd has no session left on the others
	// (OpenSSH's MaxSessions allows 10 on each by default); 0 means 8.
	MaxConnections int
	// killGrace is how long an operation that is cancelled waits for its processes to be gone; 0 means 1.8 s.
	killGrace time.Duration
}

// withDefaults fills the fields that have a default.
func (c Config) withDefaults() Config {
	if c.User == "" {
		c.User = "root"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.Ciphers) == 0 {
		c.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = defaultKeepAlive
	}
	if c.KeepAliveTimeout == 0 {
		c.KeepAliveTimeout = defaultKeepAliveTimeout
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultMaxConnections
	}
	if c.killGrace == 0 {
		c.killGrace = killGrace
	}
	return c
}
