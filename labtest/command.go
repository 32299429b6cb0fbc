package labtest

import (
	"context"
	"fmt"
	"os"

	"github.com/onsi/gomega/gbytes"

	"ionlab/internal/guest"
)

// Command is a running command in a guest, as Node.Start returns it. gexec.Exit, matchers.ExitWith and gbytes.Say work
// on it. It is safe for concurrent use. What still runs when the lab ends, ends with it.
type Command struct {
	// Out and Err get what the program writes, as it writes it. They are closed when it has ended.
	Out, Err *gbytes.Buffer
	process  *guest.Process
	node     string
}

// Buffer is Out; gbytes.Say uses it when it is given the command.
func (c *Command) Buffer() *gbytes.Buffer { return c.Out }

// ExitCode is -1 while the program runs, then its exit status. A command whose machine or connection was lost has 255;
// Wait tells the cause.
func (c *Command) ExitCode() int { return c.process.ExitCode() }

// Done is closed when the command has ended.
func (c *Command) Done() <-chan struct{} { return c.process.Done() }

// Wait waits for the end of the command and returns its result. When ctx ends first, the command runs on.
func (c *Command) Wait(ctx context.Context) (*Result, error) {
	res, err := c.process.Wait(ctx)
	if err != nil {
		return nil, hopeless(err)
	}
	return &Result{res}, nil
}

// Signal sends a signal, such as syscall.SIGTERM, to the command's process group.
func (c *Command) Signal(ctx context.Context, sig os.Signal) error {
	return hopeless(c.process.Signal(ctx, sig))
}

// Kill ends the command's process group with SIGKILL and waits for that.
func (c *Command) Kill(ctx context.Context) error { return hopeless(c.process.Kill(ctx)) }

// GomegaString says what runs where.
func (c *Command) GomegaString() string {
	return fmt.Sprintf("<command on %s, exit code %d>", c.node, c.ExitCode())
}
