package guest

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// errDisconnected is the cause seen by operations that Disconnect interrupts.
var errDisconnected = errors.New("the connection was dropped on purpose (reboot, revert or power change)")

// Client runs commands and moves files on one node. Use New; all methods are safe for concurrent use.
type Client struct {
	cfg  Config
	done chan struct{} // closed by Close
	// runtimeDir holds the runtime folders of the guest's users; tests put it elsewhere.
	runtimeDir string
	direct     directState
	wg         sync.WaitGroup // every goroutine of the client

	mu         sync.Mutex
	closed     bool
	ops        sync.WaitGroup // operations under way; added to under mu while not closed
	conns      []*conn
	dialing    bool
	generation int           // number of Disconnects
	changed    chan struct{} // closed and replaced when a session may have become free
}

// New returns a Client; it connects when it is first used. The caller closes it.
func New(cfg Config) *Client {
	return &Client{
		cfg: cfg.withDefaults(), runtimeDir: "/run/user", done: make(chan struct{}), changed: make(chan struct{}),
	}
}

// Connect makes sure that there is a connection, with one attempt at most: dial, banner, key exchange with the pinned
// host key, authentication. A failed attempt is a *StageError. It does nothing when a connection is up.
func (c *Client) Connect(ctx context.Context) error {
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	k, err := c.reserve(ctx, 1)
	if err != nil {
		return err
	}
	c.release(k)
	return nil
}

// Disconnect drops every connection: commands that run over them end with an error, and the next operation connects
// anew. For use before a reboot, a revert or a power change.
func (c *Client) Disconnect() {
	if c == nil {
		return
	}
	c.drop(errDisconnected)
}

// DisconnectIdle drops the connections that nothing runs over, so that the guest ends its side of them.
func (c *Client) DisconnectIdle() {
	c.mu.Lock()
	var idle []*conn
	for _, k := range c.conns {
		if k.inUse == 0 {
			k.limit = 0 // for nobody to begin anything on it
			idle = append(idle, k)
		}
	}
	c.mu.Unlock()
	for _, k := range idle {
		k.closeWith(errDisconnected)
	}
}

// drop closes all connections; dials under way are void.
func (c *Client) drop(cause error) {
	c.forgetDirect()
	c.mu.Lock()
	c.generation++
	conns := c.conns
	c.conns = nil
	c.announce()
	c.mu.Unlock()
	for _, k := range conns {
		k.closeWith(cause)
	}
}

// Close drops the connections, ends all operations and waits for the client's goroutines. Commands that still run in
// the guest are not killed. It does not wait for a Stdin reader that blocks. Close is idempotent and may be called on nil.
func (c *Client) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.done)
	}
	c.mu.Unlock()
	c.ops.Wait()
	c.drop(ErrClosed)
	c.wg.Wait()
	return nil
}

// begin starts an operation: it fails if the machine is dead or the client closed, and returns a context that ends
// when either happens. end must be called.
func (c *Client) begin(ctx context.Context) (opCtx context.Context, end func(), err error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, fmt.Errorf("node %q: %w", c.cfg.Name, ErrClosed)
	}
	c.ops.Add(1)
	opCtx, cancel := context.WithCancelCause(ctx)
	c.wg.Go(func() { c.watch(opCtx, cancel) })
	return opCtx, func() {
		cancel(nil)
		c.ops.Done()
	}, nil
}

// watch ends an operation when the machine dies or the client is closed.
func (c *Client) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-c.cfg.Dead:
		err := c.deadError()
		cancel(err)
		c.drop(err)
	case <-c.done:
		cancel(ErrClosed)
	}
}

// check returns an error if the machine is known to be dead or bad.
func (c *Client) check() error {
	select {
	case <-c.cfg.Dead:
		return c.deadError()
	default:
	}
	if c.cfg.Check == nil {
		return nil
	}
	if err := c.cfg.Check(); err != nil {
		return fmt.Errorf("node %q: %w", c.cfg.Name, err)
	}
	return nil
}

// errDead is the cause when Dead is closed and Check knows no better one.
var errDead = errors.New("the machine is dead")

// deadError is what operations on a dead machine return.
func (c *Client) deadError() error {
	err := errDead
	if c.cfg.Check != nil {
		if known := c.cfg.Check(); known != nil {
			err = known
		}
	}
	return fmt.Errorf("node %q: %w", c.cfg.Name, err)
}

// isDead tells whether the machine is known to be dead, so that nothing more can be asked of it.
func (c *Client) isDead() bool {
	select {
	case <-c.cfg.Dead:
		return true
	default:
		return false
	}
}
