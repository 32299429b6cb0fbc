package fabric

import (
	"errors"
	"fmt"

	"ionlab/internal/fabric/impair"
)

// Conditions is what a link does to the frames that pass, by direction. The zero value is a link without impairments.
type Conditions struct{ Egress, Ingress impair.Impairment }

// Validate reports everything that is wrong with the conditions.
func (c Conditions) Validate() error {
	var errs []error
	for _, d := range []Direction{Egress, Ingress} {
		if err := c.of(d).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

func (c Conditions) of(d Direction) impair.Impairment {
	if d == Egress {
		return c.Egress
	}
	return c.Ingress
}

// Conditions is what the link does to frames now.
func (l *Link) Conditions() Conditions {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conditions
}

// SetConditions replaces the link's conditions, in force from the next frame on. Frames under way keep the time at which
// they arrive, and what follows does not wait for them.
func (l *Link) SetConditions(c Conditions) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("set the conditions of %q on network %q: %w", l.owner, l.network, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c != l.conditions {
		l.apply(c)
	}
	return nil
}

// apply puts valid conditions in force. A direction without impairments passes its lane by.
func (l *Link) apply(c Conditions) {
	l.conditions = c
	for d := range directions {
		i := c.of(d)
		l.lanes[d].set(i)
		if i.IsZero() {
			l.setStage(d, nil)
		} else {
			l.setStage(d, l.lanes[d])
		}
	}
}

// Discard drops the frames that are under way on all links, for a lab whose machines go back in time: they have not been
// sent yet. They are not counted.
func (f *Fabric) Discard() { f.scheduler.empty() }

// SetUp cuts the link at its owner's end, or joins it again. While it is down nothing passes but the control path; frames
// that arrive meanwhile are lost, and so are those that the owner sends.
func (l *Link) SetUp(up bool) { l.down.Store(!up) }

// Up reports whether the link is not cut.
func (l *Link) Up() bool { return !l.down.Load() }
