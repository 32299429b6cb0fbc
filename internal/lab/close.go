package lab

import (
	"errors"
	"fmt"
)

// Close ends the lab at once and leaves nothing of it: no process, no socket, no file. It is idempotent, and works on
// a lab in any state; a Start under way ends first. Take evidence before.
func (l *Lab) Close() error {
	if l == nil {
		return nil
	}
	l.once.Do(func() { l.err = l.closeAll() })
	return l.err
}

func (l *Lab) closeAll() error {
	l.mu.Lock()
	l.closed = true
	starting, stopStart := l.starting, l.stopStart
	l.mu.Unlock()
	if starting != nil {
		stopStart(ErrClosed)
		<-starting
	}
	l.mu.Lock()
	hypervisor, fab, home := l.hypervisor, l.fabric, l.home
	l.mu.Unlock()
	l.stopSchedules()
	for _, node := range l.nodes {
		node.expectStop()
	}
	var errs []error
	errs = append(errs, l.doors.Close())
	if hypervisor != nil {
		errs = append(errs, hypervisor.Close(), killStrays(home.run))
	}
	for _, node := range l.nodes {
		errs = append(errs, node.close())
	}
	for _, fwd := range l.forwards {
		errs = append(errs, fwd.Close())
	}
	errs = append(errs, l.endCaptures(), fab.Close(), l.consoles.Close(), home.Close(), l.warmth.Close(), l.memory.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close lab %s: %w", l.ID(), err)
	}
	return nil
}
