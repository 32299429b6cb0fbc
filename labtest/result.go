package labtest

import (
	"time"

	"ionlab/internal/guest"
)

// Result is how a command ended. The matchers of package matchers take it. It never changes.
type Result struct{ inner *guest.Result }

// ExitCode is the exit status of the program, 0 to 255. A program that a signal ended has 128 plus its number.
func (r *Result) ExitCode() int { return r.inner.ExitCode() }

// Stdout is what the program wrote to its standard output.
func (r *Result) Stdout() string { return r.inner.Stdout() }

// Stderr is what the program wrote to its standard error.
func (r *Result) Stderr() string { return r.inner.Stderr() }

// Duration is the time from the request to the exit status, as seen from the host.
func (r *Result) Duration() time.Duration { return r.inner.Duration() }

// Signal is the name of the signal that ended the program, such as "SIGKILL"; empty if it exited by itself.
func (r *Result) Signal() string { return r.inner.Signal() }

// Command is what was run, quoted for a shell and shortened.
func (r *Result) Command() string { return r.inner.Command() }

// GomegaString is a bounded description for failure messages.
func (r *Result) GomegaString() string {
	if r == nil {
		return "<no result>"
	}
	return r.inner.GomegaString()
}
