package fabric

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timer is an alarm of the kernel's (timerfd_create(2)) that wakes a goroutine through the runtime's network poller. The
// runtime's own timers come up to a millisecond late while the process has nothing else to do, for epoll_wait(2) takes whole
// milliseconds.
type timer struct {
	file  *os.File
	ready syscall.RawConn
	look  func(fd uintptr) bool // rung, made once
	start time.Time
	rings atomic.Int64 // when, in nanoseconds since start, or never

	mu     sync.Mutex
	fd     int
	closed bool
	spec   unix.ItimerSpec
}

func newTimer() (*timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a timer: %w", err)
	}
	t := &timer{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd, start: time.Now()}
	t.rings.Store(never)
	t.look = t.rung
	if t.ready, err = t.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for a timer: %w", err), t.file.Close())
	}
	return t, nil
}

// set implements alarm.
func (t *timer) set(d time.Duration) {
	d = max(d, 1) // 0 would switch it off.
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.rings.Store(int64(time.Since(t.start) + d))
	t.spec.Value = unix.NsecToTimespec(int64(d))
	_ = unix.TimerfdSettime(t.fd, 0, &t.spec, nil) // It fails for a bad descriptor or time only.
}

// wait implements alarm. The timer is not read: each ringing is an edge for epoll(7), and one before the wait is known by
// the clock.
func (t *timer) wait() bool { return t.ready.Read(t.look) == nil }

func (t *timer) rung(uintptr) bool {
	at := t.rings.Load()
	if int64(time.Since(t.start)) < at {
		return false
	}
	t.rings.CompareAndSwap(at, never)
	return true
}

// close implements alarm.
func (t *timer) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	return t.file.Close()
}
