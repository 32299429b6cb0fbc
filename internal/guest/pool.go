package guest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// unlimited is the session limit of a connection that has not refused a session yet.
const unlimited = 1 << 20

// retryRefused is how long a connection on which sshd has refused a session counts as full, unless a session on it ends.
// A refusal does not tell the limit: sshd may only not yet have cleaned up a session that just ended.
const retryRefused = 100 * time.Millisecond

// maxRefusals is how often sshd may refuse the only session of a connection before that is taken seriously.
const maxRefusals = 50

// session is an open SSH session channel and the connection it lives on.
type session struct {
	ssh.Channel
	reqs <-chan *ssh.Request
	conn *conn
}

// openSession opens a session channel on any connection that has room, or on a new one. It opens at most most
// connections and then waits until a session ends.
func (c *Client) openSession(ctx context.Context, most int) (*session, error) {
	var refusedBy error
	for attempt := 1; ; attempt++ {
		k, err := c.reserve(ctx, most)
		if err != nil {
			return nil, err
		}
		ch, reqs, err := c.openChannel(ctx, k)
		if err == nil {
			c.opened(k)
			return &session{Channel: ch, reqs: reqs, conn: k}, nil
		}
		if ctx.Err() != nil && refusedBy != nil {
			return nil, fmt.Errorf("wait for a free SSH session: %w; last cause: %w", context.Cause(ctx), refusedBy)
		} else if ctx.Err() != nil {
			return nil, fmt.Errorf("open an SSH session: %w", context.Cause(ctx))
		}
		var refusal *ssh.OpenChannelError
		switch {
		case isSessionLimit(err):
			refusedBy = err
			if err := c.refused(ctx, k, attempt, err); err != nil {
				return nil, err
			}
		case !errors.As(err, &refusal) && attempt < 3:
			// The connection is dead. Nothing was started over it, so that costs only another attempt.
			k.closeWith(err)
			<-k.dead
		default:
			return nil, fmt.Errorf("open an SSH session: %w", err)
		}
	}
}

// openChannel asks k for a session channel. When ctx ends first, the channel is closed as soon as it comes.
func (c *Client) openChannel(ctx context.Context, k *conn) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	result := make(chan opened)
	c.wg.Go(func() {
		ch, reqs, err := k.ssh.OpenChannel("session", nil)
		select {
		case result <- opened{ch, reqs, err}:
			return
		case <-ctx.Done():
		}
		if err == nil {
			_ = ch.Close()
			ssh.DiscardRequests(reqs)
		}
		c.release(k)
	})
	select {
	case o := <-result:
		if o.err != nil {
			c.release(k)
		}
		return o.ch, o.reqs, o.err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

// opened notes that sshd has granted a session; it may grant one more.
func (c *Client) opened(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.open++
	k.limit = max(k.limit, k.open+1)
}

// ended notes that a session that sshd had granted is over.
func (c *Client) ended(k *conn) {
	c.mu.Lock()
	k.open--
	k.limit = max(k.limit, k.open+1)
	c.mu.Unlock()
	c.release(k)
}

// refused takes k for full until a session on it ends, or for a moment. It returns an error when another attempt makes
// no sense.
func (c *Client) refused(ctx context.Context, k *conn, attempt int, refusal error) error {
	c.mu.Lock()
	others := k.open
	k.limit = max(others, 1)
	c.mu.Unlock()
	time.AfterFunc(retryRefused, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		k.limit = max(k.limit, k.open+1)
		c.announce()
	})
	if others > 0 {
		return nil
	}
	if attempt > maxRefusals {
		return fmt.Errorf("open an SSH session: sshd refuses even the first one (MaxSessions 0?): %w", refusal)
	}
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("open an SSH session: %w; last cause: %w", context.Cause(ctx), refusal)
	}
}

// reserve takes one session of a connection, opening a connection if none has room.
func (c *Client) reserve(ctx context.Context, most int) (*conn, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		for _, k := range c.conns {
			if k.inUse < k.limit && !k.wire.lost.Load() {
				k.inUse++
				c.mu.Unlock()
				return k, nil
			}
		}
		dial := !c.dialing && len(c.conns) < most
		if dial {
			c.dialing = true
		}
		changed, have := c.changed, len(c.conns)
		c.mu.Unlock()
		if dial {
			if err := c.grow(ctx); err != nil && have == 0 {
				return nil, err
			} else if err == nil {
				continue
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a free SSH session (all %d connections are full): %w", have, context.Cause(ctx))
		}
	}
}

// grow opens one more connection; c.dialing is set by the caller and cleared here.
func (c *Client) grow(ctx context.Context) error {
	c.mu.Lock()
	generation := c.generation
	c.mu.Unlock()
	k, err := c.connect(ctx)
	c.mu.Lock()
	c.dialing = false
	stale := err == nil && (c.closed || c.generation != generation)
	if err == nil && !stale {
		c.conns = append(c.conns, k)
	}
	c.announce()
	c.mu.Unlock()
	if stale {
		k.closeWith(errDisconnected)
	}
	if err != nil {
		c.cfg.Log.Debug("connect", "node", c.cfg.Name, "error", err)
	}
	return err
}

// release gives a session back.
func (c *Client) release(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.inUse--
	c.announce()
}

// forget drops a dead connection.
func (c *Client) forget(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.conns {
		if other == k {
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			break
		}
	}
	c.announce()
}

// announce wakes those who wait in reserve; c.mu is held.
func (c *Client) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}
