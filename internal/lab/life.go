package lab

import (
	"context"
	"sync"

	"ionlab/internal/guest"
)

// life is one run of a node's domain, from power on to power off. Its death ends every wait on the node. It survives that
// the domain is saved and restored from there, or started again for a reboot.
type life struct {
	guest *guest.Client
	over  chan struct{} // closed when the domain has stopped, asked or not
	turn  chan struct{} // has room for one of those who ask the domain to stop or have another follow it

	mu       sync.Mutex
	give     func()  // gives back a turn that outlasts a save; nil when there is none
	machine  Machine // nil until it is created
	dead     chan struct{}
	cause    error
	expected bool          // its domain is about to end, and that is no death
	stops    int           // how many want the domain to stop for good
	noInit   bool          // its domain was booted without cloud-init
	held     bool          // it is being saved or restored, and paused for that
	saved    chan struct{} // closed when the domain has ended and another is to follow; nil when none is
	reset    chan struct{} // closed when the guest restarts next; nil when nobody waits for that
	overOnce sync.Once
}

func newLife() *life {
	return &life{dead: make(chan struct{}), over: make(chan struct{}), turn: make(chan struct{}, 1)}
}

// take waits until nobody else asks the domain to stop or has another follow it. give lets the next.
func (l *life) take(ctx context.Context) (give func(), err error) {
	give = func() { <-l.turn }
	select {
	case l.turn <- struct{}{}: // though ctx may have ended
		return give, nil
	default:
	}
	select {
	case l.turn <- struct{}{}:
		return give, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// takeForSave takes the turn until the life goes on in another domain and is put right, or is given up.
func (l *life) takeForSave(ctx context.Context) error {
	give, err := l.take(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.give = give
	return nil
}

// giveBack gives back what takeForSave has taken, if anything.
func (l *life) giveBack() {
	l.mu.Lock()
	give := l.give
	l.give = nil
	l.mu.Unlock()
	if give != nil {
		give()
	}
}

// die records the first cause and ends every wait.
func (l *life) die(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return
	}
	l.cause = cause
	close(l.dead)
}

// err is why the life ended; nil while all is well.
func (l *life) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// expect announces that the domain is about to end, for whatever comes after it; stopping does for who wants it to stop for good.
func (l *life) expect(stop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = stop
}

// stopping announces by 1 that somebody wants the domain to stop for good, and by -1 that it is not to, after all.
func (l *life) stopping(more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops += more
}

func (l *life) isStopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stops > 0
}

// leaveOutInit records whether the domain is booted without cloud-init.
func (l *life) leaveOutInit(out bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noInit = out
}

func (l *life) leavesOutInit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.noInit
}

// hold announces pauses that are the lab's own affair.
func (l *life) hold(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
}

func (l *life) isHeld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

func (l *life) isExpected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expected || l.stops > 0
}

// nextReset returns a channel that is closed when the guest restarts.
func (l *life) nextReset() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reset = make(chan struct{})
	return l.reset
}

// wasReset is called when the guest has restarted.
func (l *life) wasReset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reset != nil {
		close(l.reset)
		l.reset = nil
	}
}

// domain is the life's machine; nil until it is created.
func (l *life) domain() Machine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machine
}

// begin records the machine.
func (l *life) begin(machine Machine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.machine = machine
}

// ended tells whether the domain has stopped.
func (l *life) ended() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// end marks that the domain has stopped.
func (l *life) end() { l.overOnce.Do(func() { close(l.over) }) }

// beginSave announces that the domain is going to end and the life to go on in another. It returns a channel that is closed when it
// has ended.
func (l *life) beginSave() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected, l.saved = true, make(chan struct{})
	return l.saved
}

// leftDomain is called when the domain has ended.
func (l *life) leftDomain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.saved != nil {
		close(l.saved)
		return
	}
	l.end()
}

// cancelSave takes beginSave back: the save has failed. The domain goes on, unless it has ended meanwhile.
func (l *life) cancelSave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.saved:
		l.end()
	default:
	}
	l.expected, l.saved = false, nil
}

// isSaved tells whether the life waits on the host for being restored.
func (l *life) isSaved() bool {
	l.mu.Lock()
	saved := l.saved
	l.mu.Unlock()
	select {
	case <-saved:
		return true
	default:
		return false
	}
}

// goOn records the machine in which a saved life goes on.
func (l *life) goOn(machine Machine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.machine, l.expected, l.saved = machine, false, nil
}
