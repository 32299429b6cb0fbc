package topology

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// rawImpairment is what the file says about one direction, or about both. Only what is given replaces what was there.
type rawImpairment struct {
	preset       field[Impairment]
	numbers      map[string]field[float64]
	distribution field[Distribution]
	bursts       rawBursts
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
	// least is the smallest value besides 0, which none says the meaning of.
	least float64
	none  string
	whole bool
}

const (
	maxLatencyMS = 60_000
	maxKbps      = 1_000_000_000
	// minKbps keeps the time that one frame takes within minutes.
	minKbps       = 0.1
	maxQueueBytes = 1 << 30
)

// impairmentKeys returns the numbers of an impairment in the order of the documentation. Of loss and bursts, and of the
// two bounds of the queue, the last one that is set takes the other away.
func impairmentKeys() []impairmentKey {
	return []impairmentKey{
		{key: "latency_ms", unit: "milliseconds", most: maxLatencyMS, set: func(i *Impairment, v float64) { i.Delay = milliseconds(v) }},
		{key: "jitter_ms", unit: "milliseconds", most: maxLatencyMS, set: func(i *Impairment, v float64) { i.Jitter = milliseconds(v) }},
		{key: "packet_loss_percent", unit: "percent", most: 100, set: func(i *Impairment, v float64) {
			i.LossPercent, i.Bursts = v, GilbertElliott{}
		}},
		{
			key: "bandwidth_kbps", unit: "kilobits per second", least: minKbps, none: "unlimited", most: maxKbps,
			set: func(i *Impairment, v float64) { i.RateKbps = v },
		},
		{
			key: "queue_bytes", unit: "bytes", least: 1, none: "the usual queue", most: maxQueueBytes, whole: true,
			set: func(i *Impairment, v float64) { i.QueueBytes, i.QueueTime = int(v), 0 },
		},
		{
			key: "queue_ms", unit: "milliseconds", least: 0.1, none: "the usual queue", most: maxLatencyMS,
			set: func(i *Impairment, v float64) { i.QueueBytes, i.QueueTime = 0, milliseconds(v) },
		},
		{key: "reorder_percent", unit: "percent", most: 100, set: func(i *Impairment, v float64) { i.ReorderPercent = v }},
		{key: "duplicate_percent", unit: "percent", most: 100, set: func(i *Impairment, v float64) { i.DuplicatePercent = v }},
		{key: "corrupt_percent", unit: "percent", most: 100, set: func(i *Impairment, v float64) { i.CorruptPercent = v }},
	}
}

func conditionKeys(more ...string) keySet {
	known := []string{"preset"}
	for _, k := range impairmentKeys() {
		known = append(known, k.key)
	}
	known = append(known, "jitter_distribution", "packet_loss_bursts")
	return keySet{
		what:  "network conditions",
		known: append(known, more...),
		refused: map[string]string{
			"latency":           "write latency_ms: 5 for 5 ms",
			"delay":             "write latency_ms: 5 for 5 ms",
			"delay_ms":          "write latency_ms",
			"rtt_ms":            "write latency_ms: half of it on each of the two links, or in egress and ingress",
			"jitter":            "write jitter_ms: 5 for 5 ms",
			"distribution":      "write jitter_distribution: uniform or normal",
			"loss":              "write packet_loss_percent: 0.1 for 0.1 %",
			"loss_percent":      "write packet_loss_percent",
			"packet_loss":       "write packet_loss_percent: 0.1 for 0.1 %",
			"bursts":            "write packet_loss_bursts: {enter_percent: 1, leave_percent: 20}",
			"loss_bursts":       "write packet_loss_bursts: {enter_percent: 1, leave_percent: 20}",
			"gilbert_elliott":   "write packet_loss_bursts: {enter_percent: 1, leave_percent: 20}",
			"bandwidth":         "write bandwidth_kbps: 100000 for 100 Mbit/s",
			"bandwidth_mbps":    "write bandwidth_kbps: 100000 for 100 Mbit/s",
			"rate":              "write bandwidth_kbps: 100000 for 100 Mbit/s",
			"queue":             "write queue_ms: 50 or queue_bytes: 64000",
			"buffer":            "write queue_ms: 50 or queue_bytes: 64000",
			"queue_packets":     "write queue_bytes: 1514 for each packet of full size",
			"reorder":           "write reorder_percent: 1 for 1 %",
			"duplicate":         "write duplicate_percent: 1 for 1 %",
			"corrupt":           "write corrupt_percent: 1 for 1 %",
			"upload":            "write egress: {...}",
			"download":          "write ingress: {...}",
			"nat":               "write routers: [{name: ..., inside: ..., outside: ..., nat: ...}]",
			"partition":         "cut the network in a spec: lab.Partition, or node.Link(...).Down",
			"down":              "cut the network in a spec: lab.Partition, or node.Link(...).Down",
			"network_condition": "write its keys here",
			"comment":           "write a YAML comment: # ...",
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
		preset:       convert(r, r.str(m.get("preset")), findPreset),
		numbers:      map[string]field[float64]{},
		distribution: convert(r, r.str(m.get("jitter_distribution")), parseDistribution),
		bursts:       parseBursts(r, m.get("packet_loss_bursts")),
	}
	for _, k := range impairmentKeys() {
		if m.has(k.key) {
			raw.numbers[k.key] = r.number(m.get(k.key), k.unit)
		}
	}
	return raw
}

func parseDistribution(word string) (Distribution, *complaint) {
	if i := slices.Index(distributions(), word); i >= 0 {
		return Distribution(i), nil
	}
	return Uniform, &complaint{quote(word) + " is not a distribution of jitter", didYouMean(word, distributions())}
}

// validateConditions looks at the ranges of the numbers, and for two that exclude each other.
func validateConditions(r *report, c *rawConditions) {
	for _, raw := range []*rawImpairment{&c.both, &c.egress, &c.ingress} {
		for _, k := range impairmentKeys() {
			number := raw.numbers[k.key]
			check(r, &number, k.inRange)
			if number.given {
				raw.numbers[k.key] = number
			}
		}
		validateBursts(r, &raw.bursts)
		loss, bursts := raw.numbers["packet_loss_percent"], &raw.bursts
		if loss.given && bursts.given {
			r.addf(later(loss.at, bursts.at), "keep one of them: packet_loss_percent is for loss without bursts",
				"packet_loss_percent and packet_loss_bursts are both given")
		}
		bytes, time := raw.numbers["queue_bytes"], raw.numbers["queue_ms"]
		if bytes.given && time.given {
			r.addf(later(bytes.at, time.at), "keep one of them", "queue_bytes and queue_ms are both given")
		}
	}
}

// later returns the mark that comes second in the file.
func later(a, b mark) mark {
	if a.line > b.line || a.line == b.line && a.column > b.column {
		return a
	}
	return b
}

// inRange complains of a value that no link can have.
func (k impairmentKey) inRange(v float64) *complaint {
	right := fmt.Sprintf("%s is 0 to %s %s", k.key, formatNumber(k.most), k.unit)
	if k.none != "" {
		right = fmt.Sprintf("%s is 0 for %s, or %s to %s %s", k.key, k.none, formatNumber(k.least), formatNumber(k.most), k.unit)
	}
	switch {
	case v < 0 || v > k.most || v > 0 && v < k.least:
		return &complaint{formatNumber(v) + " is out of range", right}
	case k.whole && v != math.Trunc(v):
		return &complaint{formatNumber(v) + " is not a whole number", right}
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

// over returns the impairment that is left when raw speaks after another: its preset first, then the rest.
func (raw rawImpairment) over(i Impairment) Impairment {
	if raw.preset.usable() {
		p := raw.preset.value
		i.Delay, i.Jitter, i.RateKbps = p.Delay, p.Jitter, p.RateKbps
		i.LossPercent, i.Bursts = p.LossPercent, GilbertElliott{}
	}
	for _, k := range impairmentKeys() {
		if number := raw.numbers[k.key]; number.usable() {
			k.set(&i, number.value)
		}
	}
	if raw.distribution.usable() {
		i.Distribution = raw.distribution.value
	}
	if raw.bursts.given && !raw.bursts.bad {
		i.LossPercent, i.Bursts = 0, raw.bursts.plan()
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
