package guest

import (
	"context"
	"strings"
	"time"
)

// Run runs a command and waits for its end. A non-zero exit code is a result, not an error. When ctx or cmd.Timeout
// ends first, everything the command started is killed in the guest and the error, a *CommandError, has the end of the
// output; the call returns within 2 s even if the guest hangs. When the connection is lost, the error wraps
// ErrOutcomeUnknown. A program that never started is a *LaunchError inside; a program that is not there is exit code
// 127, as in a shell.
//
// Output that background processes write after the program's exit is not waited for: Run returns when the output has
// been quiet for a moment (2 s at most), and they get an error when they write more.
func (c *Client) Run(ctx context.Context, cmd Cmd) (*Result, error) {
	began := time.Now()
	res, err := c.run(ctx, cmd)
	c.observe(commandEvent(cmd, began, res, err))
	return res, err
}

func (c *Client) run(ctx context.Context, cmd Cmd) (*Result, error) {
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return c.runWith(ctx, cmd, c.cfg.Env)
}

// runWith runs a command inside an operation, with that environment.
func (c *Client) runWith(ctx context.Context, cmd Cmd, nodeEnv map[string]string) (*Result, error) {
	cmd.awaited = true
	p, err := c.launchOn(ctx, cmd, nodeEnv, c.cfg.MaxConnections)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return p.outcome()
	case <-ctx.Done():
		return nil, p.giveUp(context.Cause(ctx))
	}
}

// Start starts a command and returns when its program runs. ctx bounds only that: the process goes on until it ends by
// itself, by Cmd.Timeout, Kill or Close, or with the connection.
func (c *Client) Start(ctx context.Context, cmd Cmd) (*Process, error) {
	began := time.Now()
	p, err := c.start(ctx, cmd)
	if err != nil {
		c.observe(commandEvent(cmd, began, nil, err))
		return nil, err
	}
	if c.cfg.Observe != nil {
		c.observeEnd(p, began)
	}
	return p, nil
}

func (c *Client) start(ctx context.Context, cmd Cmd) (*Process, error) {
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return c.launchOn(ctx, cmd, c.cfg.Env, c.cfg.MaxConnections)
}

// launchOn starts a command on a session of its own, with at most most connections open.
func (c *Client) launchOn(ctx context.Context, cmd Cmd, nodeEnv map[string]string, most int) (*Process, error) {
	began := time.Now()
	fail := func(err error) error {
		return &CommandError{Node: c.cfg.Name, Command: cmd.String(), After: time.Since(began), Err: err}
	}
	if err := cmd.validate(); err != nil {
		return nil, fail(err)
	}
	if cmd.Session && c.target(cmd) == "root" && cmd.User == "" {
		return nil, fail(&LaunchError{Stage: "session", Detail: "the node has no ordinary user: name one in Cmd.User or the topology"})
	}
	l, err := c.plan(cmd, nodeEnv)
	if err != nil {
		return nil, fail(err)
	}
	ch, err := c.openSession(ctx, most)
	if err != nil {
		return nil, fail(err)
	}
	p := c.newProcess(ctx, ch, cmd, l)
	if err := p.awaitStart(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Event is one operation, for transcripts.
type Event struct {
	// Node is the node's name.
	Node string
	// Kind is "exec", "start", "upload", "download", "write", "read" or "put".
	Kind string
	// Detail is the command line or the paths, shortened.
	Detail string
	// User and Dir are those of the command, "" for the defaults.
	User, Dir string
	// Start and Duration say when.
	Start    time.Time
	Duration time.Duration
	// ExitCode is that of the command, -1 if there is none.
	ExitCode int
	// Stdout and Stderr are the beginning and the end of the output, at most 8 KiB each.
	Stdout, Stderr string
	// Err is the operation's error.
	Err error
}

// eventOutput bounds the output in an Event.
const eventOutput = 8 << 10

// observe hands an event over.
func (c *Client) observe(e Event) {
	if c.cfg.Observe == nil {
		return
	}
	e.Node = c.cfg.Name
	e.Duration = time.Since(e.Start)
	c.cfg.Observe(e)
}

// observeEnd reports a started process when it has ended.
func (c *Client) observeEnd(p *Process, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.wg.Go(func() {
		<-p.done
		res, err := p.outcome()
		e := commandEvent(p.cmd, began, res, err)
		e.Kind = "start"
		c.observe(e)
	})
}

// commandEvent describes a command that has ended.
func commandEvent(cmd Cmd, began time.Time, res *Result, err error) Event {
	e := Event{Kind: "exec", Detail: cmd.String(), User: cmd.User, Dir: cmd.Dir, Start: began, ExitCode: -1, Err: err}
	if res != nil {
		e.ExitCode = res.code
		e.Stdout = shorten(strings.ToValidUTF8(string(res.stdout), "?"), eventOutput)
		e.Stderr = shorten(strings.ToValidUTF8(string(res.stderr), "?"), eventOutput)
	}
	return e
}
