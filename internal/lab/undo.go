package lab

import (
	"errors"
	"sync"
)

// Undo remembers how things were before they were changed first, and brings that back. One that is nil remembers
// nothing. It is safe for concurrent use.
type Undo struct {
	mu    sync.Mutex
	known map[undoKey]bool
	steps []func() error
}

// undoKey names one thing that can be changed: a property of a link, a router or a pair of nodes.
type undoKey struct{ what, name, other string }

// remember keeps how to bring one thing back, unless an earlier state of it is kept already.
func (u *Undo) remember(key undoKey, back func() error) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known[key] {
		return
	}
	if u.known == nil {
		u.known = map[undoKey]bool{}
	}
	u.known[key] = true
	u.steps = append(u.steps, back)
}

// Run brings back what was remembered, the newest first, and forgets it. What belongs to a closed lab is left alone.
func (u *Undo) Run() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	steps := u.steps
	u.steps, u.known = nil, nil
	u.mu.Unlock()
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		if err := steps[i](); err != nil && !errors.Is(err, ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
