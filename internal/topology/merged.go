package topology

// merged is one link with everything that the file says about it, from what speaks first to what speaks last.
type merged struct {
	places []*rawConditions
}

// conditions returns what is left of all places.
func (m merged) conditions() Conditions {
	c := Conditions{}
	for _, place := range m.places {
		c = place.over(c)
	}
	return c
}

// on returns the link of a machine on a network, about which further places speak.
func on(network *rawNetwork, further ...*rawConditions) merged {
	return merged{append([]*rawConditions{&network.preset, &network.conditions}, further...)}
}

// plan returns the conditions and reports what only shows when all places have spoken.
func (m merged) plan(r *report) Conditions {
	c := m.conditions()
	for _, direction := range []struct {
		is   Impairment
		said func(*rawConditions) *rawImpairment
	}{
		{c.Egress, func(c *rawConditions) *rawImpairment { return &c.egress }},
		{c.Ingress, func(c *rawConditions) *rawImpairment { return &c.ingress }},
	} {
		if direction.is.ReorderPercent == 0 || direction.is.Delay > 0 || direction.is.Jitter > 0 || m.unclear(direction.said) {
			continue
		}
		r.addf(m.lastWord("reorder_percent", direction.said), "give latency_ms too, or remove reorder_percent",
			"frames are to overtake others, but none is delayed")
	}
	return c
}

// lastWord returns where a number of one direction comes from.
func (m merged) lastWord(key string, direction func(*rawConditions) *rawImpairment) mark {
	at := mark{}
	for _, place := range m.places {
		for _, said := range []*rawImpairment{&place.both, direction(place)} {
			if number := said.numbers[key]; number.usable() {
				at = number.at
			}
		}
	}
	return at
}

// unclear tells that the delay of one direction is not known because of a problem that is reported already.
func (m merged) unclear(direction func(*rawConditions) *rawImpairment) bool {
	for _, place := range m.places {
		for _, said := range []*rawImpairment{&place.both, direction(place)} {
			if said.preset.bad || said.numbers["latency_ms"].bad || said.numbers["jitter_ms"].bad {
				return true
			}
		}
	}
	return false
}
