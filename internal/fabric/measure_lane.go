package fabric

import "ionlab/internal/fabric/impair"

// newProbeLane makes a lane that belongs to no link. It takes part in the rounds of the scheduler until it is retired.
func newProbeLane(s *scheduler, pool *framePool, key impair.Key, i impair.Impairment, next func([]*frame)) *lane {
	a := &lane{
		key: key, counts: new(counters), pool: pool, scheduler: s, next: next, model: impair.New(key),
		due: make([]held, 0, maxBatch), out: make([]*frame, 0, maxBatch),
	}
	a.head.Store(never)
	a.set(i)
	s.add(a)
	return a
}

// retire leaves the scheduler and gives up what is held, also while somebody delivers what was due.
func (a *lane) retire() {
	a.scheduler.remove(a)
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

// probe implements probed. The copy takes part in the rounds of the same scheduler.
func (a *lane) probe(purpose string, change func(*impair.Impairment), next func([]*frame)) (s stage, end func()) {
	a.mu.Lock()
	i := a.model.Impairment
	a.mu.Unlock()
	change(&i)
	key := a.key
	key.Direction += " " + purpose
	b := newProbeLane(a.scheduler, a.pool, key, i, next)
	return b, b.retire
}
