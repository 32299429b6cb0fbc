package labtest

import (
	"io"
	"strings"
	"time"

	"ionlab/internal/guest"
)

// Cmd is a command for a guest. Exactly one of Argv and Shell is set.
type Cmd struct {
	// Argv is the program and its arguments, exactly: no shell expands them. true, false and plain forms of test are done by
	// the login shell itself, which is faster.
	Argv []string
	// Shell is a script for the guest's bash (sh where there is none).
	Shell string
	// Stdin is the standard input; nil is empty.
	Stdin io.Reader
	// Env is set on top of the node's own env.
	Env map[string]string
	// Dir is the working directory; the user's home when empty.
	Dir string
	// User runs the command; root when empty.
	User string
	// Session runs the command inside the login session of User, or of the topology's user when User is empty:
	// XDG_RUNTIME_DIR, DBUS_SESSION_BUS_ADDRESS and WAYLAND_DISPLAY are set, and the session lingers.
	Session bool
	// Timeout bounds the command besides ctx; 0 sets no bound. What runs longer is killed with its process group.
	Timeout time.Duration
}

func (c Cmd) guest() guest.Cmd {
	return guest.Cmd{
		Argv: c.Argv, Shell: c.Shell, Stdin: c.Stdin, Env: c.Env, Dir: c.Dir, User: c.User,
		Session: c.Session, Timeout: c.Timeout,
	}
}

// maxBrief bounds a command in a comment.
const maxBrief = 200

// brief is the command in one line, for a person.
func (c Cmd) brief() string {
	text := c.Shell
	if len(c.Argv) > 0 {
		text = strings.Join(c.Argv, " ")
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > maxBrief {
		text = strings.ToValidUTF8(text[:maxBrief], "") + "..."
	}
	return text
}
