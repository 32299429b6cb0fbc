package topology

import (
	"fmt"
	"math"
	"strconv"
)

// rawImpairment is what the file says about one direction, or about both. Only what is given replaces what was there.
type rawImpairment struct {
	preset  field[Impairment]
	numbers map[string]field[float64]
}

// rawConditions is one place of the file that speaks about links.
type rawConditions struct {
	at    mark
	given bool
	// both is said of both directions; egress and ingress come on top.
	both, egress, ingress rawImpairment
}

// impairmentKey is a number of an impairment.
type impairmentKey struct {
	key, unit string
	most      float64
	set       func(*Impairment, float64)
}

const (
	maxLatencyMS = 60_000
	maxKbps      = 1_000_000_000
	// minKbps keeps the time that one frame takes within minutes.
	minKbps = 0.1
)

// impairmentKeys returns the numbers of an impairment in the order of the documentation.
func impairmentKeys() []impairmentKey {
	return []impairmentKey{
		{"latency_ms", "milliseconds", maxLatencyMS, func(i *Impairment, v float64) { i.Delay = milliseconds(v) }},
		{"jitter_ms", "milliseconds", maxLatencyMS, func(i *Impairment, v float64) { i.Jitter = milliseconds(v) }},
		{"packet_loss_percent", "percent", 100, func(i *Impairment, v float64) { i.LossPercent = v }},
		{"bandwidth_kbps", "kilobits per second", maxKbps, func(i *Impairment, v float64) { i.RateKbps = v }},
		{"reorder_percent", "percent", 100, func(i *Impairment, v float64) { i.ReorderPercent = v }},
		{"duplicate_percent", "percent", 100, func(i *Impairment, v float64) { i.DuplicatePercent = v }},
		{"corrupt_percent", "percent", 100, func(i *Impairment, v float64) { i.CorruptPercent = v }},
	}
}

func conditionKeys(more ...string) keySet {
	known := []string{"preset"}
	for _, k := range impairmentKeys() {
		known = append(known, k.key)
	}
	return keySet{
		what:  "network conditions",
		known: append(known, more...),
		refused: map[string]string{
			"latency":     "write latency_ms: 5 for 5 ms",
			"delay":       "write latency_ms: 5 for 5 ms",
			"delay_ms":    "write latency_ms",
			"jitter":      "write jitter_ms: 5 for 5 ms",
			"loss":        "write packet_loss_percent: 0.1 for 0.1 %",
			"packet_loss": "write packet_loss_percent: 0.1 for 0.1 %",
			"bandwidth":   "write bandwidth_kbps: 100000 for 100 Mbit/s",
			"rate":        "write bandwidth_kbps: 100000 for 100 Mbit/s",
			"comment":     "write a YAML comment: # ...",
		},
	}
}

func parseConditions(r *report, v value) rawConditions {
	m := r.mapping(v, conditionKeys("egress", "ingress"))
	return rawConditions{
		at:      v.keyAt,
		given:   v.node != nil,
		both:    parseImpairment(r, m),
		egress:  parseImpairment(r, r.mapping(m.get("egress"), conditionKeys())),
		ingress: parseImpairment(r, r.mapping(m.get("ingress"), conditionKeys())),
	}
}

func parseImpairment(r *report, m mapping) rawImpairment {
	raw := rawImpairment{
		preset:  convert(r, r.str(m.get("preset")), findPreset),
		numbers: map[string]field[float64]{},
	}
	for _, k := range impairmentKeys() {
		if m.has(k.key) {
			raw.numbers[k.key] = r.number(m.get(k.key), k.unit)
		}
	}
	return raw
}

// validateConditions looks at the ranges of the numbers.
func validateConditions(r *report, c *rawConditions) {
	for _, raw := range []rawImpairment{c.both, c.egress, c.ingress} {
		for _, k := range impairmentKeys() {
			number := raw.numbers[k.key]
			check(r, &number, k.inRange)
			if number.given {
				raw.numbers[k.key] = number
			}
		}
	}
}

// inRange complains of a value that no link can have.
func (k impairmentKey) inRange(v float64) *complaint {
	right := fmt.Sprintf("%s is 0 to %s %s", k.key, formatNumber(k.most), k.unit)
	if k.key == "bandwidth_kbps" {
		right = fmt.Sprintf("%s is 0 for unlimited, or %s to %s %s", k.key, formatNumber(minKbps), formatNumber(k.most), k.unit)
		if v > 0 && v < minKbps {
			return &complaint{formatNumber(v) + " is out of range", right}
		}
	}
	if v < 0 || v > k.most {
		return &complaint{formatNumber(v) + " is out of range", right}
	}
	return nil
}

// formatNumber writes a number as a person would.
func formatNumber(v float64) string {
	if math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// over returns the impairment that is left when raw speaks after another: its preset first, then its numbers.
func (raw rawImpairment) over(i Impairment) Impairment {
	if raw.preset.usable() {
		p := raw.preset.value
		i.Delay, i.Jitter, i.LossPercent, i.RateKbps = p.Delay, p.Jitter, p.LossPercent, p.RateKbps
	}
	for _, k := range impairmentKeys() {
		if number := raw.numbers[k.key]; number.usable() {
			k.set(&i, number.value)
		}
	}
	return i
}

// over returns the conditions that are left when raw speaks after others.
func (raw rawConditions) over(c Conditions) Conditions {
	return Conditions{
		Egress:  raw.egress.over(raw.both.over(c.Egress)),
		Ingress: raw.ingress.over(raw.both.over(c.Ingress)),
	}
}
