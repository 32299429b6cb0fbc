package lab

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ionlab/internal/fabric"
)

// Link is one node's or router's port on one network. It is safe for concurrent use.
type Link struct {
	lab            *Lab
	owner, network string
	planned        fabric.Conditions // what the topology says
}

// Owner is the name of the node or router.
func (k *Link) Owner() string { return k.owner }

// Network is the name of the network.
func (k *Link) Network() string { return k.network }

// String names the link in messages.
func (k *Link) String() string { return fmt.Sprintf("link of %q on network %q", k.owner, k.network) }

// Conditions are what the link does to frames now.
func (k *Link) Conditions() (fabric.Conditions, error) {
	inner, err := k.wired()
	if err != nil {
		return fabric.Conditions{}, err
	}
	return inner.Conditions(), nil
}

// IsUp tells whether the link carries frames.
func (k *Link) IsUp() (bool, error) {
	inner, err := k.wired()
	if err != nil {
		return false, err
	}
	return inner.Up(), nil
}

// Counters are what the link has carried and dropped since the lab began.
func (k *Link) Counters() (fabric.Counters, error) {
	inner, err := k.wired()
	if err != nil {
		return fabric.Counters{}, err
	}
	return inner.Counters(), nil
}

// State says in words what the link does to frames now.
func (k *Link) State() string {
	inner, err := k.wired()
	if err != nil {
		return err.Error()
	}
	return stateOf(inner.Up(), inner.Conditions())
}

// Capture copies every frame of the link's data path to w, as pcapng, until it is closed.
func (k *Link) Capture(ctx context.Context, w io.Writer, opts fabric.CaptureOptions) (*fabric.Capture, error) {
	inner, err := k.wired()
	if err != nil {
		return nil, err
	}
	return inner.Capture(ctx, w, opts)
}

// Down stops the link from carrying anything but the control path.
func (k *Link) Down(undo *Undo) error { return k.setUp(false, undo) }

// Up lets the link carry frames again.
func (k *Link) Up(undo *Undo) error { return k.setUp(true, undo) }

func (k *Link) setUp(up bool, undo *Undo) error {
	inner, err := k.wired()
	if err != nil {
		return err
	}
	k.lab.netMu.Lock()
	defer k.lab.netMu.Unlock()
	was := inner.Up()
	undo.remember(undoKey{"up", k.owner, k.network}, func() error { return k.setUp(was, nil) })
	inner.SetUp(up)
	return nil
}

// set replaces the link's conditions.
func (k *Link) set(c fabric.Conditions) error {
	inner, err := k.wired()
	if err != nil {
		return err
	}
	if err := inner.SetConditions(c); err != nil {
		return fmt.Errorf("impair %s: %w", k, err)
	}
	return nil
}

// wired is the fabric's side of the link.
func (k *Link) wired() (*fabric.Link, error) {
	fab, err := k.lab.wired()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k, err)
	}
	return fab.Link(k.owner, k.network)
}

// Impair changes what links do to frames, from the next frame on. Either all of them change or, after an error, none.
func (l *Lab) Impair(links []*Link, change Impairment, undo *Undo) error {
	return l.replace(links, undo, func(_ *Link, was fabric.Conditions) (fabric.Conditions, error) { return change.over(was) })
}

// Reset brings links back to what the topology says of them: its conditions, and up.
func (l *Lab) Reset(links []*Link, undo *Undo) error {
	err := l.replace(links, undo, func(link *Link, _ fabric.Conditions) (fabric.Conditions, error) { return link.planned, nil })
	for _, link := range links {
		err = errors.Join(err, link.Up(undo))
	}
	return err
}

// replace computes the new conditions of all links before it sets the first.
func (l *Lab) replace(links []*Link, undo *Undo, next func(*Link, fabric.Conditions) (fabric.Conditions, error)) error {
	l.netMu.Lock()
	defer l.netMu.Unlock()
	was, now := make([]fabric.Conditions, len(links)), make([]fabric.Conditions, len(links))
	for i, link := range links {
		var err error
		if was[i], err = link.Conditions(); err != nil {
			return err
		}
		if now[i], err = next(link, was[i]); err != nil {
			return fmt.Errorf("impair %s: %w", link, err)
		}
	}
	for i, link := range links {
		undo.remember(undoKey{"conditions", link.owner, link.network}, func() error { return l.restore(link, was[i]) })
		if err := link.set(now[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) restore(link *Link, c fabric.Conditions) error {
	l.netMu.Lock()
	defer l.netMu.Unlock()
	return link.set(c)
}
