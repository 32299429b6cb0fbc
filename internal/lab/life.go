package lab

import (
	"sync"

	"ionlab/internal/guest"
)

// life is one run of a node's domain, from power on to power off. Its death ends every wait on the node.
type life struct {
	guest *guest.Client
	over  chan struct{} // closed when the domain has stopped, asked or not

	mu       sync.Mutex
	machine  Machine // nil until it is created
	dead     chan struct{}
	cause    error
	expected bool // a stop was asked for
	overOnce sync.Once
}

func newLife() *life {
	return &life{dead: make(chan struct{}), over: make(chan struct{})}
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

// expect announces that the domain is about to stop because somebody asked for it.
func (l *life) expect(stop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = stop
}

func (l *life) isExpected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expected
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
