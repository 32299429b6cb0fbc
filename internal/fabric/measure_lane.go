package fabric

import "ionlab/internal/fabric/impair"

// probe implements probed. The copy takes part in the rounds of the same scheduler.
func (a *lane) probe(purpose string, change func(*impair.Impairment), next func([]*frame)) (s stage, end func()) {
	a.mu.Lock()
	i := a.model.Impairment
	a.mu.Unlock()
	change(&i)
	key := a.key
	key.Direction += " " + purpose
	b := &lane{
		key: key, counts: new(counters), pool: a.pool, scheduler: a.scheduler, next: next, model: impair.New(key),
		due: make([]held, 0, maxBatch), out: make([]*frame, 0, maxBatch),
	}
	b.head.Store(never)
	b.set(i)
	a.scheduler.add(b)
	return b, func() {
		a.scheduler.remove(b)
		b.discard()
	}
}

// discard gives up what is held, also while somebody delivers what was due.
func (a *lane) discard() {
	rest := make([]held, 0, maxBatch)
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		rest = a.line.pop(rest[:0], never-1)
		if len(rest) == 0 {
			a.head.Store(never)
			return
		}
		for _, h := range rest {
			a.release(h.f)
		}
	}
}
