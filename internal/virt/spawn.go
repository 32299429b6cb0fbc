package virt

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is a child that the kernel kills when this process dies.
type process struct {
	cmd    *exec.Cmd
	output *tail
	done   chan struct{}
	err    error // how it ended; valid once done is closed
}

// spawn starts cmd with a parent-death signal. That signal follows the thread that forked, so the child is started
// and awaited on a thread of its own, which lives as long as the child does. The child gets a process group of its
// own: a ^C on the terminal must not take the machines away before their evidence is taken.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, output: &tail{max: 16 << 10}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// ended tells whether the process has ended and its output is complete.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// tail keeps the last bytes that a process printed.
type tail struct {
	mu  sync.Mutex
	max int
	buf []byte
}

// Write keeps the end of what was written so far.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
