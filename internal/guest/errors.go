package guest

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrClosed is the cause of errors of a Client after its Close.
var ErrClosed = errors.New("the client is closed")

// ErrOutcomeUnknown is wrapped by the error of a command whose connection was lost before its exit status arrived: the
// program may have run to its end, may have stopped in the middle, or may still be running.
var ErrOutcomeUnknown = errors.New("the outcome is unknown")

// Stages of Connect, as a StageError names them.
const (
	StageDial      = "dial"
	StageHandshake = "handshake"
	StageAuth      = "auth"
)

// StageError tells how far Connect came.
type StageError struct {
	// Node is the node's name.
	Node string
	// Stage is StageDial, StageHandshake or StageAuth: the step that failed.
	Stage string
	// Err is the cause.
	Err error
}

// Error names the node, the stage and the cause, and what to look at.
func (e *StageError) Error() string {
	hint := ""
	switch e.Stage {
	case StageDial:
		hint = "the guest does not listen yet, or its network is not up"
	case StageHandshake:
		hint = "something answers, but not yet (or not) the guest's sshd with the pinned host key"
	case StageAuth:
		hint = "the guest refused the lab's key: cloud-init has not installed it yet, or the seed was not read"
	}
	return fmt.Sprintf("connect to node %q: %s: %v (%s)", e.Node, e.Stage, e.Err, hint)
}

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// LaunchError says that a command's program was never started: its directory, user or login session could not be set up.
type LaunchError struct {
	// Stage is "chdir", "user", "session" or "shell".
	Stage string
	// Detail is what the guest said.
	Detail string
}

// Error returns the stage and what the guest said.
func (e *LaunchError) Error() string { return e.Stage + ": " + e.Detail }

// CommandError says that a command did not come to a known end.
type CommandError struct {
	// Node and Command say what was run where; Command is shortened.
	Node, Command string
	// After is how long it had been running.
	After time.Duration
	// Stdout and Stderr are the last bytes of what it wrote.
	Stdout, Stderr string
	// Kill is the error of the attempt to end the command in the guest, nil if that succeeded or was not tried.
	Kill error
	// Err is the cause.
	Err error
}

// Error names the command, the node, the time, the cause and the end of the output.
func (e *CommandError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "run %s on node %q: after %s: %v", e.Command, e.Node, e.After.Round(time.Millisecond), e.Err)
	if e.Kill != nil {
		fmt.Fprintf(&b, "; it may still be running in the guest: %v", e.Kill)
	}
	for _, s := range []struct{ name, text string }{{"stdout", e.Stdout}, {"stderr", e.Stderr}} {
		if s.text != "" {
			fmt.Fprintf(&b, "\nlast %s: %s", s.name, s.text)
		}
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *CommandError) Unwrap() error { return e.Err }
