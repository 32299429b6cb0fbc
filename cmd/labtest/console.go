package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ionlab/internal/poll"
)

// leaveKey is Ctrl-], as telnet and virsh have it.
const leaveKey = 0x1d

// acceptLimit is how long QEMU may take to take up a console connection. It does so in its main loop, which a busy host
// may keep waiting.
const acceptLimit = 5 * time.Second

func (a *app) consoleCmd() *cobra.Command {
	return &cobra.Command{
		Use: "console LAB NODE", Short: "Talk to a node's serial console",
		Long: `console joins the terminal to the serial console of a node; Ctrl-] leaves it. Where standard input is no terminal it
copies both ways until the node goes away. It goes on after a reboot, a revert or a quick power cycle.

QEMU serves one client at a time. What the console printed before is in the lab's artifacts.`,
		Example: "  labtest console . alice\n  timeout 10 labtest console . alice </dev/null",
		Args:    wants("LAB", "NODE"), ValidArgsFunction: a.completeNode,
		RunE: verb(func(ctx context.Context, args []string) error { return a.console(ctx, args[0], args[1]) }),
	}
}

func (a *app) console(ctx context.Context, word, node string) error {
	found, err := a.findNode(ctx, word, node)
	if err != nil {
		return err
	}
	socket, err := found.Console(node)
	if err != nil {
		return err
	}
	if _, err := os.Stat(socket); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open the console of node %q: it has no domain (`labtest status %s`)", node, found.ID)
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	conn, err := openSerial(ctx, socket)
	if err != nil {
		return fmt.Errorf("open the console of node %q: %w", node, err)
	}
	in, restore, err := a.rawTerminal(node)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	in.left = func() { leave(errLeft) }
	// QEMU takes the end of the input for a hang-up, so it is kept to ourselves: a console is worth watching without one.
	err = join(ctx, conn, in, a.out, func() error { return nil })
	return errors.Join(wanted(err), restore())
}

// awaitAccept waits until QEMU has taken up the connection that was just made, or says that another client has it. A
// connection that waits is a socket that nobody holds yet (unix_seq_show in Linux's net/unix/af_unix.c).
func awaitAccept(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, acceptLimit, fmt.Errorf("QEMU has not taken it up within %s", acceptLimit))
	defer cancel()
	return poll.Until(ctx, 20*time.Millisecond, func(context.Context) error {
		held, waiting, err := unixClients(socket)
		switch {
		case err != nil:
			return poll.Stop(err)
		case waiting == 0:
			return nil
		case held > 0:
			return poll.Stop(errors.New("another client holds it, and QEMU serves one at a time; close that one first"))
		}
		return errors.New("the connection waits for QEMU")
	})
}

// errLeft ends a console that its user left.
var errLeft = errors.New("left")

// wanted drops the reason for an end that was asked for.
func wanted(err error) error {
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// rawTerminal makes the terminal pass on every key, if there is one, and returns what to read from and what undoes it.
func (a *app) rawTerminal(node string) (*leavable, func() error, error) {
	file, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return &leavable{in: a.in, key: -1}, func() error { return nil }, nil
	}
	fmt.Fprintf(a.err, "console of %s; Ctrl-] leaves, Enter may bring a prompt\n", node)
	state, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	return &leavable{in: a.in, key: leaveKey}, func() error {
		if err := term.Restore(int(file.Fd()), state); err != nil {
			return fmt.Errorf("restore the terminal: %w (the command `reset` does)", err)
		}
		fmt.Fprintln(a.err)
		return nil
	}, nil
}

// leavable is input that ends at a key.
type leavable struct {
	in   io.Reader
	key  int // -1 for none
	left func()
}

// Read passes on what comes before the key; at the key it calls left and ends.
func (l *leavable) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	for i := range n {
		if int(p[i]) == l.key {
			l.left()
			return i, io.EOF
		}
	}
	return n, err
}
