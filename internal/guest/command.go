package guest

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

// Cmd is a command to run in the guest.
type Cmd struct {
	// Argv is the program and its arguments, passed on byte for byte; the program is looked up in PATH. For true, false and
	// the forms of test that are the same everywhere, the login shell's own serve: they start no program.
	Argv []string
	// Shell is a script for /bin/bash -c, or /bin/sh -c where there is no bash. Exactly one of Argv and Shell is set.
	Shell string
	// Stdin is what the program reads; nil means an empty input. A reader that never returns keeps one goroutine
	// until it does, but does not delay the command's end.
	Stdin io.Reader
	// Env is added to the node's environment and wins over it.
	Env map[string]string
	// Dir is the working directory; "" means the home directory of the user.
	Dir string
	// User runs the command as another user, with its groups, HOME, USER, LOGNAME and SHELL; "" means the user
	// ionlab logs in as, or the node's ordinary user if Session is set.
	User string
	// Session runs the command in the user's login session: XDG_RUNTIME_DIR, DBUS_SESSION_BUS_ADDRESS and, where there
	// is a compositor, WAYLAND_DISPLAY are set. The session is started (by lingering) when there is none.
	Session bool
	// Stdout and Stderr get the output while it comes, besides the Result. Each is called by one goroutine at a time,
	// and not after the command has ended. A write error ends the forwarding, not the command.
	Stdout, Stderr io.Writer
	// Timeout kills the command's processes when it runs longer; 0 means no limit but the context's.
	Timeout time.Duration
	// MaxOutput is how many bytes of each stream the Result keeps; more is read and dropped. 0 means 64 MiB.
	MaxOutput int64

	dropStdout bool // the Result need not keep the standard output
	awaited    bool // only its end matters: nobody asks for its process id
}

// defaultMaxOutput bounds what a Result keeps of each stream.
const defaultMaxOutput = 64 << 20

// maxArg is the longest single argument that Linux passes to a program, its final NUL included (MAX_ARG_STRLEN,
// include/uapi/linux/binfmts.h: 32 pages of 4 KiB).
const maxArg = 128 << 10

// validate reports what no guest could run.
func (cmd Cmd) validate() error {
	switch {
	case len(cmd.Argv) > 0 && cmd.Shell != "":
		return errors.New("both Argv and Shell are set: give one of them")
	case len(cmd.Argv) == 0 && cmd.Shell == "":
		return errors.New("no command: neither Argv nor Shell is set")
	case cmd.Shell == "" && cmd.Argv[0] == "":
		return errors.New("no command: the first word of Argv is empty")
	}
	errs := []error{checkArg("the script", cmd.Shell)}
	for i, word := range cmd.Argv {
		errs = append(errs, checkArg(fmt.Sprintf("argument %d", i), word))
	}
	errs = append(errs, refuseNUL("directory", cmd.Dir), refuseNUL("user", cmd.User))
	return errors.Join(errs...)
}

// checkArg refuses what Linux cannot pass as one argument.
func checkArg(what, word string) error {
	if len(word) >= maxArg {
		return fmt.Errorf("%s has %d bytes, Linux passes at most %d in one argument: %w: "+
			"pass the data through Stdin or a file", what, len(word), maxArg-1, syscall.E2BIG)
	}
	return refuseNUL(what, word)
}

// String returns the command as one would type it in a shell, shortened to a line that fits into a message.
func (cmd Cmd) String() string {
	text := cmd.Shell
	if cmd.Shell == "" {
		text = quoteAll(cmd.Argv)
	}
	return shorten(text, 200)
}

// shorten cuts s in the middle so that it has about limit bytes.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	half := limit / 2
	return fmt.Sprintf("%s ... (%d bytes) ... %s", s[:half], len(s), s[len(s)-half:])
}
