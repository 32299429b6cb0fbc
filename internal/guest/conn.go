package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// conn is one SSH connection to the node. Its goroutines belong to the Client's wait group and end with the connection.
type conn struct {
	ssh  ssh.Conn
	wire *wire
	dead chan struct{} // closed after the last packet

	mu    sync.Mutex
	cause error // why we closed it ourselves; nil if the other side did

	// Guarded by Client.mu.
	inUse int // sessions that are open or being opened
	open  int // those that sshd has granted
	limit int // most sessions to have open or being opened
}

// wire notes that reading or writing failed before anybody above it can know, so that a channel that the peer closed
// in order can be told from one that ended with the connection.
type wire struct {
	net.Conn
	lost     atomic.Bool
	received atomic.Int64 // bytes read so far
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.received.Add(int64(n))
	if err != nil {
		w.lost.Store(true)
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if err != nil {
		w.lost.Store(true)
		_ = w.Conn.Close() // A reader that still waits would keep a connection alive that nothing can be sent on.
	}
	return n, err
}

// Close notes that the connection is over and closes it.
func (w *wire) Close() error {
	w.lost.Store(true)
	return w.Conn.Close()
}

// closeWith closes the connection; cause is what its users are told.
func (k *conn) closeWith(cause error) {
	k.mu.Lock()
	if k.cause == nil {
		k.cause = cause
	}
	k.mu.Unlock()
	// The network connection is closed, not the SSH one: ssh.Conn.Close may wait for a peer that does not read.
	_ = k.wire.Close()
}

// lostError says why the connection ended.
func (k *conn) lostError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		return fmt.Errorf("connection lost: %w", k.cause)
	}
	return errors.New("connection lost: the guest or the network closed it (reboot, crash, sshd restarted?)")
}

// connect makes one attempt to open a connection. The result is owned by the caller, its goroutines by c.wg.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.ConnectTimeout,
		fmt.Errorf("no answer within %s", c.cfg.ConnectTimeout))
	defer cancel()
	if c.cfg.HostKey == nil || c.cfg.Signer == nil || c.cfg.Dial == nil {
		return nil, fmt.Errorf("connect to node %q: the configuration lacks a dialer, a client key or a pinned host key", c.cfg.Name)
	}
	raw, err := c.cfg.Dial(ctx)
	if err != nil {
		return nil, c.stageError(ctx, StageDial, err)
	}
	w := &wire{Conn: raw}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	var trusted bool
	sshConn, chans, reqs, err := ssh.NewClientConn(w, c.cfg.Name, c.sshConfig(&trusted))
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		stage := StageHandshake
		if trusted && ctx.Err() == nil { // One that was cut off has been refused nothing.
			stage = StageAuth
		}
		return nil, c.stageError(ctx, stage, err)
	}
	k := &conn{ssh: sshConn, wire: w, dead: make(chan struct{}), limit: unlimited}
	c.serve(k, chans, reqs)
	return k, nil
}

// stageError prefers the context's cause, which says more than the closed connection that it leads to.
func (c *Client) stageError(ctx context.Context, stage string, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w; last cause: %w", cause, err)
	}
	return &StageError{Node: c.cfg.Name, Stage: stage, Err: err}
}

// sshConfig is the SSH side of a connection; trusted is set when the host key has been checked.
func (c *Client) sshConfig(trusted *bool) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config: ssh.Config{
			Ciphers: c.cfg.Ciphers,
			// The classical exchanges first: under emulation the post-quantum one costs noticeable time.
			KeyExchanges: []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256, ssh.KeyExchangeMLKEM768X25519},
		},
		User:              c.cfg.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(c.cfg.Signer)},
		HostKeyAlgorithms: hostKeyAlgorithms(c.cfg.HostKey),
		HostKeyCallback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			want := c.cfg.HostKey
			if string(got.Marshal()) != string(want.Marshal()) {
				return fmt.Errorf("host key mismatch: the guest shows %s %s, pinned is %s %s: another machine answers, "+
					"or its sshd started with the image's own keys because the seed was not applied",
					got.Type(), ssh.FingerprintSHA256(got), want.Type(), ssh.FingerprintSHA256(want))
			}
			*trusted = true
			return nil
		},
	}
}

// hostKeyAlgorithms makes the guest show the pinned key and no other it may have.
func hostKeyAlgorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

// serve starts the goroutines that a connection needs for as long as it lives.
func (c *Client) serve(k *conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	c.wg.Go(func() { ssh.DiscardRequests(reqs) })
	c.wg.Go(func() {
		for ch := range chans {
			_ = ch.Reject(ssh.Prohibited, "ionlab offers no channels")
		}
	})
	c.wg.Go(func() {
		_ = k.ssh.Wait()
		close(k.dead)
		c.forget(k)
	})
	c.wg.Go(func() { c.keepAlive(k) })
}

// keepAlive probes the connection, so that one whose guest was reset or vanished ends instead of waiting for ever.
func (c *Client) keepAlive(k *conn) {
	tick := time.NewTicker(c.cfg.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-k.dead:
			return
		case <-tick.C:
		}
		c.awaitAnswer(k)
	}
}

// awaitAnswer probes once and closes the connection when nothing at all came back in time. An sshd that is busy with
// many commands, in an emulated guest on a busy host, answers late, but it goes on sending.
func (c *Client) awaitAnswer(k *conn) {
	answered := c.probe(k)
	timeout := time.NewTimer(c.cfg.KeepAliveTimeout)
	defer timeout.Stop()
	for {
		before := k.wire.received.Load()
		select {
		case <-answered:
			return
		case <-k.dead:
			return
		case <-timeout.C:
		}
		if k.wire.received.Load() == before {
			k.closeWith(fmt.Errorf("the guest's sshd has not answered for %s", c.cfg.KeepAliveTimeout))
			return
		}
		timeout.Reset(c.cfg.KeepAliveTimeout)
	}
}

// probe sends a request that every SSH server answers and returns a channel that is closed when it has been answered,
// or the connection is dead. Packets that the server had queued before its answer have arrived by then.
func (c *Client) probe(k *conn) <-chan struct{} {
	answered := make(chan struct{})
	c.wg.Go(func() {
		defer close(answered)
		_, _, _ = k.ssh.SendRequest("keepalive@openssh.com", true, nil)
	})
	return answered
}

// isSessionLimit tells whether sshd refused to open one more session on this connection.
func isSessionLimit(err error) bool {
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return false
	}
	// OpenSSH answers "connect failed: open failed" when MaxSessions is reached; others use the reasons meant for it.
	return refused.Reason == ssh.ResourceShortage || refused.Reason == ssh.Prohibited ||
		refused.Reason == ssh.ConnectionFailed && strings.Contains(refused.Message, "open failed")
}
