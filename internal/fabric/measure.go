package fabric

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ionlab/internal/fabric/impair"
)

// measureTries is how often a link is measured before what it does counts as wrong: a busy host delays probes now and then.
const measureTries = 3

// Measure finds out, in real time, what links really do to frames, in both directions: those named, or else every link that
// has impairments. All are measured at once, in the time that a frame is under way and about three seconds. What is not as
// asked is measured again, three times in all; what is wrong then is in the error, as Measurement.Check tells it, joined
// for all links. The measurements are returned in any case, in the order of the links, egress first.
//
// The probes are frames of the fabric's own, which enter the stage where a guest's frames do and leave it where they would
// be handed on; no guest and no switch sees them, nor do captures and counters. What a guest's frames meet does not
// change: the probes' luck comes from sequences of their own, and their rate has a queue of its own.
func (f *Fabric) Measure(ctx context.Context, links ...*Link) ([]Measurement, error) {
	if len(links) == 0 {
		links = f.impaired()
	}
	results := make([]Measurement, 0, len(links)*int(directions))
	errs := make([]error, 0, cap(results))
	var pending []int
	for range links {
		for range directions {
			pending = append(pending, len(results))
			results, errs = append(results, Measurement{}), append(errs, nil)
		}
	}
	for try := 1; try <= measureTries && len(pending) > 0; try++ {
		beats := newPulse(f.scheduler, f.pool)
		var all sync.WaitGroup
		for _, i := range pending {
			l, d := links[i/int(directions)], Direction(i%int(directions))
			all.Go(func() { results[i], errs[i] = l.measure(ctx, d, try, beats) })
		}
		all.Wait()
		beats.stop()
		var again []int
		for _, i := range pending {
			if errs[i] == nil {
				errs[i] = results[i].Check()
			}
			if errs[i] != nil {
				again = append(again, i)
			}
		}
		if err := ctx.Err(); err != nil {
			return results, fmt.Errorf("measure the links: %w", errors.Join(context.Cause(ctx), errors.Join(errs...)))
		}
		pending = again
	}
	return results, errors.Join(errs...)
}

// impaired are the links that have impairments.
func (f *Fabric) impaired() []*Link {
	var links []*Link
	for _, n := range f.networks {
		for _, l := range n.ordered {
			if c := l.Conditions(); !c.Egress.IsZero() || !c.Ingress.IsZero() {
				links = append(links, l)
			}
		}
	}
	return links
}

// measure measures one direction once. Try numbers the attempts, so that each has luck of its own.
func (l *Link) measure(ctx context.Context, d Direction, try int, beats *pulse) (Measurement, error) {
	began := time.Now()
	asked := l.Conditions().of(d)
	m := Measurement{Owner: l.owner, Network: l.network, Direction: d, Asked: asked}
	fly := func(purpose string, change func(*impair.Impairment)) *flight {
		return l.fly(d, fmt.Sprintf("%s %d", purpose, try), change)
	}
	var all sync.WaitGroup
	all.Go(func() { m.measureDelay(ctx, fly, beats) })
	all.Go(func() { m.measureLoss(ctx, fly) })
	all.Go(func() { m.measureRate(ctx, fly, beats) })
	all.Wait()
	m.Took = time.Since(began)
	if ctx.Err() != nil {
		return m, fmt.Errorf("measure the %s of %s on network %s: %w", d, l.owner, l.network, context.Cause(ctx))
	}
	return m, nil
}

// probed is a stage that can be measured beside the frames that pass it.
type probed interface {
	// probe makes a stage that does to frames what this one does now, but for what change changes, with a queue and luck of
	// its own, which key names. It hands frames on by calling next. The caller calls end when it needs it no more.
	probe(key string, change func(*impair.Impairment), next func([]*frame)) (s stage, end func())
}
