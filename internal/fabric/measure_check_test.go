package fabric

import (
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric/impair"
)

func TestCheckJudgesAMeasurement(t *testing.T) {
	const ms = time.Millisecond
	asked := impair.Impairment{Delay: 50 * ms, Jitter: 10 * ms, LossPercent: 1, RateBits: 10e6}
	good := Measurement{
		Owner: "alice", Network: "wan", Direction: Egress, Asked: asked,
		Delay: 51 * ms, JitterSpread: 10 * ms, DelaySamples: 400, LossPercent: 1, Probes: 2000, RateBits: 10e6, Trains: 5,
	}
	const prefix = "a link does not do what was asked of it: egress of alice on network wan, " +
		"asked: delay 50ms±10ms, loss 1 %, rate 10 Mbit/s; "
	const host = " (an overloaded host delays frames: look at its load, run fewer labs at once, or start again)"
	const bug = " (an overloaded host does not do that: look for a change of the conditions meanwhile, or report it as a bug of ionlab)"
	cases := map[string]struct {
		change func(*Measurement)
		want   string // empty: as asked
	}{
		"as asked":         {func(*Measurement) {}, ""},
		"a bit late":       {func(m *Measurement) { m.Delay = 54 * ms }, ""},
		"late":             {func(m *Measurement) { m.Delay = 55 * ms }, prefix + "the delay is 55ms, want 50ms±4.38ms" + host},
		"early":            {func(m *Measurement) { m.Delay = 45 * ms }, prefix + "the delay is 45ms, want 50ms±4.38ms" + bug},
		"few samples":      {func(m *Measurement) { m.Delay, m.DelaySamples = 55*ms, 100 }, ""},
		"even":             {func(m *Measurement) { m.JitterSpread = 0 }, prefix + "the jitter is 0s, want 10ms±3.73ms" + bug},
		"uneven":           {func(m *Measurement) { m.JitterSpread = 14 * ms }, prefix + "the jitter is 14ms, want 10ms±3.73ms" + host},
		"least loss":       {func(m *Measurement) { m.LossPercent = 0.35 }, ""},
		"most loss":        {func(m *Measurement) { m.LossPercent = 1.8 }, ""},
		"too little loss":  {func(m *Measurement) { m.LossPercent = 0.25 }, prefix + "5 of 2000 probes (0.25 %) were lost, want 7 to 36 (0.35 to 1.8 %)" + bug},
		"too much loss":    {func(m *Measurement) { m.LossPercent = 3 }, prefix + "60 of 2000 probes (3 %) were lost, want 7 to 36 (0.35 to 1.8 %)" + bug},
		"a bit slow":       {func(m *Measurement) { m.RateBits = 9.6e6 }, ""},
		"slow":             {func(m *Measurement) { m.RateBits = 9.4e6 }, prefix + "the rate is 9.4 Mbit/s, want 10 Mbit/s ±5.2 %" + host},
		"fast":             {func(m *Measurement) { m.RateBits = 11e6 }, prefix + "the rate is 11 Mbit/s, want 10 Mbit/s ±5.2 %" + bug},
		"a short train":    {func(m *Measurement) { m.RateBits, m.Asked.RateBits, m.Asked.QueueBytes = 90e6, 100e6, 5000 }, ""},
		"nothing in time":  {func(m *Measurement) { m.DelaySamples, m.Late = 3, 397 }, prefix + "the delay is unknown: of 400 probes that arrived, the host noted 3 in time" + host},
		"enough in time":   {func(m *Measurement) { m.DelaySamples, m.Late = 20, 380 }, ""},
		"no train":         {func(m *Measurement) { m.Trains = 0 }, prefix + "the rate is unknown: of the frames that were to tell it, too few arrived, or were noted in time" + host},
		"no room for one":  {func(m *Measurement) { m.Trains, m.Asked.QueueBytes = 0, 200 }, ""},
		"everything wrong": {func(m *Measurement) { m.Delay, m.LossPercent, m.RateBits = 0, 0, 9e9 }, prefix + "the delay is 0s, want 50ms±4.38ms; 0 of 2000 probes (0 %) were lost, want 7 to 36 (0.35 to 1.8 %); the rate is 9000 Mbit/s, want 10 Mbit/s ±5.2 %" + bug},
		"jitter beyond the delay is not judged": {func(m *Measurement) {
			m.Asked.Jitter, m.JitterSpread = 60*ms, 30*ms
		}, ""},
		"nothing arrives": {func(m *Measurement) { m.Asked.LossPercent, m.LossPercent, m.DelaySamples, m.Delay = 100, 100, 0, 0 }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			m := good
			c.change(&m)
			if c.want == "" {
				g.Expect(m.Check()).To(Succeed())
				return
			}
			g.Expect(m.Check()).To(MatchError(c.want))
			g.Expect(m.Check()).To(MatchError(ErrMeasured))
		})
	}
}

func TestLossBoundsAreThoseOfTheBinomialDistribution(t *testing.T) {
	for _, c := range []struct {
		n           int
		percent     float64
		least, most int
	}{
		// The quantiles at 0.0005 and 0.9995, computed elsewhere with exact fractions.
		{2000, 0, 0, 0},
		{2000, 100, 2000, 2000},
		{10, 50, 0, 10},
		{100, 50, 34, 66},
		{2000, 1, 7, 36},
		{2000, 0.1, 0, 8},
		{400, 30, 91, 151},
	} {
		least, most := lossBounds(c.n, impair.Impairment{LossPercent: c.percent})
		NewWithT(t).Expect([]int{least, most}).To(Equal([]int{c.least, c.most}), "%d probes, %v %%", c.n, c.percent)
	}
	g := NewWithT(t)
	odds := lossOdds(50, impair.GilbertElliott{LossGoodPercent: 20})
	g.Expect(odds[0]).To(BeNumerically("~", math.Pow(0.8, 50), 1e-12))
	g.Expect(odds[2]).To(BeNumerically("~", 1225*math.Pow(0.8, 48)*0.04, 1e-9))
}

func TestLossBoundsOfBurstsHoldWhatTheModelDoes(t *testing.T) {
	g := NewWithT(t)
	i := impair.Impairment{Bursts: impair.GilbertElliott{EnterPercent: 1, LeavePercent: 10, LossBadPercent: 80, LossGoodPercent: 0.1}}
	const probes, runs = 500, 2000
	least, most := lossBounds(probes, i)
	narrow, wide := lossBounds(probes, impair.Impairment{LossPercent: i.Bursts.LossPercent()})
	g.Expect(most-least).To(BeNumerically(">", 2*(wide-narrow)), "bursts scatter more")
	outside, sum := 0, 0
	for run := range runs {
		m := impair.New(impair.Key{Seed: uint64(run)})
		m.Set(i)
		lost := 0
		for range probes {
			if m.Frame(0, 60).Fate == impair.Lost {
				lost++
			}
		}
		sum += lost
		if lost < least || lost > most {
			outside++
		}
	}
	g.Expect(outside).To(BeNumerically("<=", 8), "2 are expected; more than 8 in one of 4000 series")
	mean := 0.0
	for lost, p := range lossOdds(probes, i.Bursts) {
		mean += float64(lost) * p
	}
	g.Expect(float64(sum) / runs).To(BeNumerically("~", mean, 0.05*mean))
}

func TestAMeasurementIsALine(t *testing.T) {
	g := NewWithT(t)
	m := Measurement{
		Owner: "alice", Network: "wan", Asked: impair.Impairment{Delay: 50 * time.Millisecond}, Delay: 50123456,
		JitterSpread: 98765, DelaySamples: 9, LossPercent: 0.25, Probes: 2000,
	}
	g.Expect(m.String()).To(Equal("alice@wan egress: delay 50.12ms, jitter 99µs, loss 0.25 % of 2000 (asked: delay 50ms)"))
	m.Trains, m.RateBits = 5, 99_870_000
	g.Expect(m.String()).To(ContainSubstring(", rate 99.87 Mbit/s (asked"))
	m.DelaySamples = 0
	g.Expect(m.String()).To(HavePrefix("alice@wan egress: loss 0.25 % of 2000, rate"))
}
