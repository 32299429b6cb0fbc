package guest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Process is a command that was started in the guest. Its methods are safe for concurrent use.
type Process struct {
	client *Client
	cmd    Cmd
	launch *launch
	ch     *session
	began  time.Time

	out, err  *stream
	activity  chan struct{} // gets a token when output came
	announced chan struct{} // closed when the launcher has said that the program starts, or why not
	status    chan exit     // gets the exit status
	refused   chan error    // gets an error when the command could not even be asked for
	stop      chan error    // takes a reason to kill everything and give up
	eof       chan struct{} // closed when both streams are at their end
	closed    chan struct{} // closed when the channel is
	done      chan struct{} // closed when the result or the failure is known

	preamble string // what the login shell wrote instead of a message; written before eof is closed
	cutOff   bool   // the channel ended with its connection; written before closed is closed

	mu       sync.Mutex
	message  message // what the launcher said
	inputErr error   // of reading Cmd.Stdin
	code     int     // -1 while running
	result   *Result
	failure  error
}

// exit is how a program ended.
type exit struct {
	code   int
	signal string
}

// codeUnknown is the exit code of a Process whose outcome is unknown, as that of ssh(1).
const codeUnknown = 255

// newProcess wires up a process on an open session and starts its goroutines, which belong to the client. ctx is for
// values only: the process outlives the context it was started with.
func (c *Client) newProcess(ctx context.Context, ch *session, cmd Cmd, l *launch) *Process {
	p := &Process{
		client: c, cmd: cmd, launch: l, ch: ch, began: time.Now(), code: -1,
		out: newStream(cmd.Stdout, cmd.MaxOutput), err: newStream(cmd.Stderr, cmd.MaxOutput),
		activity: make(chan struct{}, 1), announced: make(chan struct{}), status: make(chan exit, 1),
		refused: make(chan error, 1), stop: make(chan error), eof: make(chan struct{}),
		closed: make(chan struct{}), done: make(chan struct{}),
	}
	if cmd.dropStdout {
		p.out.limit = 0
	}
	var readers sync.WaitGroup
	readers.Add(2)
	c.wg.Go(func() { defer readers.Done(); p.readStdout() })
	c.wg.Go(func() { defer readers.Done(); p.readStderr() })
	c.wg.Go(func() { readers.Wait(); close(p.eof) })
	c.wg.Go(p.readRequests)
	c.wg.Go(p.request)
	ctx = context.WithoutCancel(ctx)
	c.wg.Go(func() { p.supervise(ctx) })
	return p
}

// awaitStart waits until the program runs. When ctx ends first, what there is of it is killed.
func (p *Process) awaitStart(ctx context.Context) error {
	select {
	case <-p.announced:
	case <-p.done:
	case <-ctx.Done():
		return p.giveUp(context.Cause(ctx))
	}
	select {
	case <-p.announced:
		if p.said().failed == nil {
			return nil
		}
	default:
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return p.giveUp(context.Cause(ctx))
	}
	_, err := p.outcome()
	return err
}

// giveUp kills the process for a reason and returns the error that says so, soon even if the guest hangs.
func (p *Process) giveUp(cause error) error {
	select {
	case p.stop <- cause:
	case <-p.done:
	}
	<-p.done
	if _, err := p.outcome(); err != nil {
		return err
	}
	return p.describe(fmt.Errorf("%w (it ended at the same moment)", cause))
}

// said is what the launcher announced.
func (p *Process) said() message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.message
}

// outcome is the result or the failure; p.done must be closed.
func (p *Process) outcome() (*Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result, p.failure
}

// ExitCode is -1 while the program runs, then as Result.ExitCode; 255 when the outcome is unknown: Wait then has the
// error.
func (p *Process) ExitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.code
}

// Done is closed when the program has ended and its output has been passed on, or its outcome cannot become known.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the program's process id in the guest, which is also the id of its session and process group.
func (p *Process) PID() string { return p.said().pid }

// String is the command as one would type it in a shell, shortened for messages.
func (p *Process) String() string { return p.cmd.String() }

// GomegaString is a bounded description for failure messages.
func (p *Process) GomegaString() string {
	state := "running"
	if code := p.ExitCode(); code >= 0 {
		state = fmt.Sprintf("ended with exit code %d", code)
	}
	return fmt.Sprintf("%s on node %q: %s\nlast stdout: %s\nlast stderr: %s",
		p.cmd, p.client.cfg.Name, state, p.out.last(), p.err.last())
}

// Wait waits for the program's end. When ctx ends first, the program goes on and the error says so.
func (p *Process) Wait(ctx context.Context) (*Result, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		select {
		case <-p.done:
		default:
			return nil, p.describe(fmt.Errorf("%w (it still ran, and was left running)", context.Cause(ctx)))
		}
	}
	return p.outcome()
}

// errProcessClosed is the outcome of a process that Close ended.
var errProcessClosed = errors.New("the process was closed")

// Close kills the program and its descendants if it still runs, and waits for that for at most 2 s. The error is that
// of the killing. Close is idempotent and may be called on nil.
func (p *Process) Close() error {
	if p == nil {
		return nil
	}
	var failed *CommandError
	if err := p.giveUp(errProcessClosed); errors.As(err, &failed) && errors.Is(err, errProcessClosed) {
		return failed.Kill
	}
	return nil
}

// describe adds to an error what is known about the command.
func (p *Process) describe(err error) *CommandError {
	return &CommandError{
		Node: p.client.cfg.Name, Command: p.cmd.String(), After: time.Since(p.began),
		Stdout: p.out.last(), Stderr: p.err.last(), Err: err,
	}
}
