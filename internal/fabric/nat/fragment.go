package nat

import "time"

const (
	// fragmentTimeout is how long the rest of a datagram may take: as long as Linux waits for it.
	fragmentTimeout = 30 * time.Second
	// maxFragments is how many datagrams are remembered; a new one takes the place of the oldest.
	maxFragments = 1024
)

// fragmentKey tells the fragments of one datagram (RFC 791).
type fragmentKey struct {
	src, dst addr
	id       uint16
	protocol Protocol
}

// fragmentRule is what was done to the first fragment.
type fragmentRule struct {
	side  side
	to    addr
	id    uint16
	until time.Time
}

// fragments remembers what to do with the rest of a datagram.
type fragments struct {
	rules  map[fragmentKey]fragmentRule
	order  [maxFragments]fragmentKey // a ring of the keys in rules
	oldest int
	id     uint16 // of the datagram that left last
}

func keyOf(p packet) fragmentKey { return fragmentKey{p.src(), p.dst(), p.id(), p.protocol()} }

// begin remembers a datagram by its first fragment, whose address on a side is about to become to. A datagram that leaves
// gets an identification of its own, since those of two inside hosts could be alike.
func (f *fragments) begin(p packet, s side, to addr, now time.Time) {
	if f.rules == nil {
		f.rules = make(map[fragmentKey]fragmentRule, maxFragments)
	}
	key, rule := keyOf(p), fragmentRule{side: s, to: to, id: p.id(), until: now.Add(fragmentTimeout)}
	if old, ok := f.rules[key]; ok {
		rule.id = old.id // A duplicate.
	} else {
		if s == srcSide && to != p.src() {
			f.id++
			rule.id = f.id
		}
		if len(f.rules) == maxFragments {
			delete(f.rules, f.order[f.oldest])
		}
		f.order[f.oldest] = key
		f.oldest = (f.oldest + 1) % maxFragments
	}
	f.rules[key] = rule
	p.setID(rule.id)
}

// follow does to a later fragment what was done to the first.
func (f *fragments) follow(p packet, now time.Time) Verdict {
	rule, ok := f.rules[keyOf(p)]
	if !ok || !now.Before(rule.until) {
		return drop(FragmentLost)
	}
	p.setAddr(rule.side, rule.to)
	p.setID(rule.id)
	return pass
}
