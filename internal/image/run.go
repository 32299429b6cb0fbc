package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// command is one run of a tool.
type command struct {
	Argv []string
	// Env replaces the environment; nil means the process's own.
	Env []string
	// Line gets each line of stdout and stderr; with Out, of stderr only.
	Line func(string)
	// Out gets stdout.
	Out io.Writer
}

// runner is how the store reaches the host's tools; tests have their own.
type runner interface {
	// Find fails if the tool is not installed.
	Find(tool string) error
	// Run returns when the tool has ended; a failure carries its last lines.
	Run(ctx context.Context, c command) error
}

// tailLines is how much of a failed tool's output goes into the error.
const tailLines = 15

// killDelay is how long a killed tool's children may keep its output open.
const killDelay = 5 * time.Second

type hostRunner struct{}

// toolPath is where tools are looked for beside the caller's PATH: a user's often lacks the sbin folders.
const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Find also looks where an ordinary user's PATH does not.
func (hostRunner) Find(tool string) error {
	_, err := exec.LookPath(tool)
	if err == nil {
		return nil
	}
	for dir := range strings.SplitSeq(toolPath, ":") {
		if _, err := exec.LookPath(filepath.Join(dir, tool)); err == nil {
			return nil
		}
	}
	return err
}

// Run keeps its goroutine on one thread: the tool dies with this process by a parent-death signal, which the kernel ties to the
// thread that forked (prctl(2), PR_SET_PDEATHSIG).
func (hostRunner) Run(ctx context.Context, c command) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	lines := &lineWriter{line: c.Line}
	cmd.Env, cmd.Stderr, cmd.Stdout = c.Env, lines, lines
	if c.Out != nil {
		cmd.Stdout = c.Out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = killDelay
	err := cmd.Run()
	lines.flush()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return &toolError{tool: c.Argv[0], err: err, tail: lines.tail}
}

// toolError is the failure of a tool with the end of its output.
type toolError struct {
	tool string
	err  error
	tail []string
}

func (e *toolError) Error() string {
	text := fmt.Sprintf("%s: %v", e.tool, e.err)
	if len(e.tail) > 0 {
		text += "; its last lines:\n  " + strings.Join(e.tail, "\n  ")
	}
	return text
}

func (e *toolError) Unwrap() error { return e.err }

// exitStatus returns the tool's exit status, or -1 where it did not exit by itself.
func exitStatus(err error) int {
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// lineWriter cuts output into lines, hands them on and remembers the last ones.
type lineWriter struct {
	line func(string)

	mu   sync.Mutex
	part []byte
	tail []string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.part = append(w.part, p...)
	for {
		i := bytes.IndexByte(w.part, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.take(string(w.part[:i]))
		w.part = w.part[i+1:]
	}
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) > 0 {
		w.take(string(w.part))
		w.part = nil
	}
}

func (w *lineWriter) take(line string) {
	if i := strings.LastIndexByte(strings.TrimRight(line, "\r"), '\r'); i >= 0 {
		line = line[i+1:] // what a progress bar last drew
	}
	line = strings.TrimRight(line, "\r ")
	if line == "" {
		return
	}
	if w.tail = append(w.tail, line); len(w.tail) > tailLines {
		w.tail = w.tail[1:]
	}
	if w.line != nil {
		w.line(line)
	}
}

// need checks that tools are installed, and names all that are not with the packages that bring them.
func (s *Store) need(tools ...string) error {
	var problems []error
	for _, tool := range tools {
		if err := s.run.Find(tool); err != nil {
			problems = append(problems, fmt.Errorf("%s is not installed: %s", tool, installHint(tool, s.osRelease)))
		}
	}
	return errors.Join(problems...)
}
