package guest

import (
	"fmt"
	"strings"
	"time"
)

// Result is a command that ran to a known end. It is immutable.
type Result struct {
	command        string
	argv           []string
	code           int
	signal         string
	stdout, stderr []byte
	truncated      bool
	duration       time.Duration
}

// ExitCode is the program's exit status, 0 to 255; after a death by signal it is 128 plus the signal's number.
func (r *Result) ExitCode() int { return r.code }

// Signal is the name of the signal that killed the program, like "SIGTERM", and "" if it exited by itself. sshd names
// only the signals of RFC 4254, 6.10; for the others it is "unknown signal" and ExitCode is 128.
func (r *Result) Signal() string { return r.signal }

// Stdout is what the program wrote to its standard output.
func (r *Result) Stdout() string { return string(r.stdout) }

// Stderr is what the program wrote to its standard error.
func (r *Result) Stderr() string { return string(r.stderr) }

// StdoutBytes is Stdout as bytes; the caller must not change them.
func (r *Result) StdoutBytes() []byte { return r.stdout }

// StderrBytes is Stderr as bytes; the caller must not change them.
func (r *Result) StderrBytes() []byte { return r.stderr }

// Truncated tells whether the program wrote more than Cmd.MaxOutput, so that Stdout or Stderr lacks its end.
func (r *Result) Truncated() bool { return r.truncated }

// Duration is the time from the request to the program's end.
func (r *Result) Duration() time.Duration { return r.duration }

// Command is the command as one would type it in a shell, shortened for messages.
func (r *Result) Command() string { return r.command }

// Argv is the command's argument vector; a Shell command has the shell's.
func (r *Result) Argv() []string { return r.argv }

// GomegaString is a bounded description for failure messages.
func (r *Result) GomegaString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nexit code %d", r.command, r.code)
	if r.signal != "" {
		fmt.Fprintf(&b, " (%s)", r.signal)
	}
	fmt.Fprintf(&b, " after %s", r.duration.Round(time.Millisecond))
	for _, s := range []struct {
		name string
		data []byte
	}{{"stdout", r.stdout}, {"stderr", r.stderr}} {
		if len(s.data) > 0 {
			fmt.Fprintf(&b, "\n%s:\n%s", s.name, shorten(string(s.data), 2*tailSize))
		}
	}
	return b.String()
}
