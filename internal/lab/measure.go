package lab

import (
	"context"
	"fmt"
	"time"

	"ionlab/internal/fabric"
)

// Measure measures links by probes of the fabric between their ends; the guests have no part in it. The error names
// every link that does not do what was asked of it.
func (l *Lab) Measure(ctx context.Context, links []*Link) ([]fabric.Measurement, error) {
	fab, err := l.wired()
	if err != nil {
		return nil, fmt.Errorf("measure the links: %w", err)
	}
	if len(links) == 0 {
		return nil, nil // to the fabric none means all
	}
	inner := make([]*fabric.Link, len(links))
	for i, link := range links {
		if inner[i], err = fab.Link(link.owner, link.network); err != nil {
			return nil, err
		}
	}
	found, err := fab.Measure(ctx, inner...)
	l.mu.Lock()
	l.measured = merged(l.measured, found)
	l.mu.Unlock()
	if err != nil {
		return found, fmt.Errorf("measure the links: %w", err)
	}
	return found, nil
}

// Measured is what the newest measurement of each link came to, for reports.
func (l *Lab) Measured() []fabric.Measurement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]fabric.Measurement(nil), l.measured...)
}

// merged has the newest of each link and direction.
func merged(old, found []fabric.Measurement) []fabric.Measurement {
	var out []fabric.Measurement
	for _, m := range old {
		if !measures(found, m) {
			out = append(out, m)
		}
	}
	return append(out, found...)
}

func measures(found []fabric.Measurement, m fabric.Measurement) bool {
	for _, other := range found {
		if other.Owner == m.Owner && other.Network == m.Network && other.Direction == m.Direction {
			return true
		}
	}
	return false
}

// prove measures the links that the topology impairs, before anybody relies on them.
func (l *Lab) prove(ctx context.Context) error {
	var links []*Link
	for _, link := range l.links {
		if !link.planned.Egress.IsZero() || !link.planned.Ingress.IsZero() {
			links = append(links, link)
		}
	}
	if l.cfg.SkipMeasuring || len(links) == 0 {
		return nil
	}
	began := time.Now()
	l.tell(Event{Stage: "measuring links", Note: fmt.Sprintf("%d have impairments", len(links))})
	found, err := l.measure(ctx, links)
	if err != nil {
		return fmt.Errorf("%w\nThe links do not do what the topology says. If the host was too busy to be on time, try again "+
			"with less beside it, or start without this check by labtest.WithoutMeasuring()", err)
	}
	for _, m := range found {
		l.tell(Event{Stage: "measured", Note: m.String()})
	}
	l.tell(Event{Stage: "links measured", Note: fmt.Sprintf("%d links in %s", len(links), time.Since(began).Round(time.Millisecond))})
	return nil
}
