package lab

import (
	"errors"
	"fmt"
	"strings"
)

// DeadError says that a node's machine is dead: it stopped unasked, or its console shows that the guest is lost.
// No wait on that node can succeed any more until it is powered on again.
type DeadError struct {
	Node    string
	Cause   string
	Console []string // the last lines of its serial console
}

// Error names the node, the cause and what the console showed last.
func (e *DeadError) Error() string {
	return fmt.Sprintf("node %q is dead: %s\nlast lines of its console:\n%s",
		e.Node, e.Cause, indent(e.Console))
}

// StageError says at which stage the start of a node failed.
type StageError struct {
	Node  string
	Stage string
	Hint  string // what to look at, for a person
	Err   error
	Tail  []string // of the console
}

// Error tells the stage, the cause, a hint and the last lines of the console. The death of a machine speaks for itself:
// the stage's hint would mislead.
func (e *StageError) Error() string {
	text := fmt.Sprintf("node %q: stage %q: %v", e.Node, e.Stage, e.Err)
	var dead *DeadError
	if errors.As(e.Err, &dead) {
		return text
	}
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	if len(e.Tail) > 0 {
		text += "\nlast lines of its console:\n" + indent(e.Tail)
	}
	return text
}

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// ErrOff is wrapped by operations on a node that is powered off on request.
var ErrOff = errors.New("it is powered off")

// ErrClosed is wrapped by operations on a lab that was closed.
var ErrClosed = errors.New("the lab is closed")

func indent(lines []string) string {
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "" {
		return "    (nothing was printed)"
	}
	return "    " + strings.Join(lines, "\n    ")
}
