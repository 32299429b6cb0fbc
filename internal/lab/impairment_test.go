package lab

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/fabric"
	"ionlab/internal/fabric/impair"
	"ionlab/internal/topology"
)

// full has something of everything.
var full = impair.Impairment{
	Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond, Distribution: impair.Normal, LossPercent: 1,
	RateBits: 1e6, QueueBytes: 3000, ReorderPercent: 2, DuplicatePercent: 3, CorruptPercent: 4,
}

func TestChangesAddUp(t *testing.T) {
	t.Parallel()
	burst := impair.GilbertElliott{EnterPercent: 1, LeavePercent: 10, LossBadPercent: 100}
	with := func(change func(*impair.Impairment)) impair.Impairment {
		out := full
		change(&out)
		return out
	}
	bursty := with(func(i *impair.Impairment) { i.Bursts = burst })
	for name, test := range map[string]struct {
		was    impair.Impairment
		change Impairment
		want   impair.Impairment
	}{
		"one field":      {full, Impairment{Delay: time.Second}, with(func(i *impair.Impairment) { i.Delay = time.Second })},
		"jitter":         {full, Impairment{Jitter: 1}, with(func(i *impair.Impairment) { i.Jitter = 1 })},
		"distribution":   {full, Impairment{Distribution: Uniform}, with(func(i *impair.Impairment) { i.Distribution = impair.Uniform })},
		"rate":           {full, Impairment{RateBits: 2e6}, with(func(i *impair.Impairment) { i.RateBits = 2e6 })},
		"the rest":       {full, Impairment{ReorderPercent: 7, DuplicatePercent: 8, CorruptPercent: 9}, with(func(i *impair.Impairment) { i.ReorderPercent, i.DuplicatePercent, i.CorruptPercent = 7, 8, 9 })},
		"none of one":    {full, Impairment{LossPercent: None}, with(func(i *impair.Impairment) { i.LossPercent = 0 })},
		"none of delay":  {full, Impairment{Delay: None, ReorderPercent: None}, with(func(i *impair.Impairment) { i.Delay, i.ReorderPercent = 0, 0 })},
		"on nothing":     {impair.Impairment{}, Impairment{Delay: time.Second}, impair.Impairment{Delay: time.Second}},
		"bursts":         {full, Impairment{Bursts: burst}, bursty},
		"no bursts":      {bursty, Impairment{Bursts: impair.GilbertElliott{EnterPercent: None}}, full},
		"loss, not both": {bursty, Impairment{LossPercent: 5}, with(func(i *impair.Impairment) { i.LossPercent = 5 })},
		"no loss at all": {bursty, Impairment{LossPercent: None}, with(func(i *impair.Impairment) { i.LossPercent = 0 })},
		"delay of both":  {bursty, Impairment{Delay: 1}, with(func(i *impair.Impairment) { i.Bursts, i.Delay = burst, 1 })},
		"queue in time": {full, Impairment{QueueTime: time.Second}, with(func(i *impair.Impairment) {
			i.QueueBytes, i.QueueTime = 0, time.Second
		})},
		"queue in bytes": {with(func(i *impair.Impairment) { i.QueueBytes, i.QueueTime = 0, 1 }), Impairment{QueueBytes: 9}, with(func(i *impair.Impairment) { i.QueueBytes = 9 })},
		"preset first": {full, Impairment{Preset: "cellular", LossPercent: 9}, with(func(i *impair.Impairment) {
			i.Delay, i.Jitter, i.LossPercent, i.RateBits = 100*time.Millisecond, 0, 9, 50e6
		})},
		"preset for bursts": {bursty, Impairment{Preset: "localhost", ReorderPercent: None}, with(func(i *impair.Impairment) {
			i.Delay, i.Jitter, i.LossPercent, i.RateBits, i.ReorderPercent = 0, 0, 0, 0, 0
		})},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			other := impair.Impairment{LossPercent: 33}
			test.change.On = Egress
			g.Expect(test.change.over(fabric.Conditions{Egress: test.was, Ingress: other})).
				To(Equal(fabric.Conditions{Egress: test.want, Ingress: other}))
			test.change.On = Ingress
			g.Expect(test.change.over(fabric.Conditions{Egress: other, Ingress: test.was})).
				To(Equal(fabric.Conditions{Egress: other, Ingress: test.want}))
			test.change.On = Both
			g.Expect(test.change.over(fabric.Conditions{Egress: test.was, Ingress: test.was})).
				To(Equal(fabric.Conditions{Egress: test.want, Ingress: test.want}))
		})
	}
}

func TestChangesThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change Impairment
		want   string
	}{
		"nothing":        {Impairment{}, "nothing is asked for: a field that is zero stays as it was; None takes an impairment away, Reset all of them"},
		"only direction": {Impairment{On: Egress}, "nothing is asked for"},
		"preset":         {Impairment{Preset: "celular"}, `preset "celular" is not known; there are localhost, basement_lan, `},
		"distribution":   {Impairment{Distribution: "pareto"}, `distribution "pareto" is not known; there are "uniform" and "normal"`},
		"negative":       {Impairment{Delay: -time.Second}, "delay -1s, want 0 to"},
		"percent":        {Impairment{LossPercent: 101}, "loss 101 %, want 0 to 100 %"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			was := fabric.Conditions{Egress: full, Ingress: full}
			got, err := test.change.over(was)
			g.Expect(err).To(MatchError(ContainSubstring(test.want)))
			_ = got // what an error comes with is not used
		})
	}
}

func TestTopologyBecomesFabric(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	bursts := topology.GilbertElliott{EnterPercent: 1, LeavePercent: 2, LossGoodPercent: 3, LossBadPercent: 4}
	g.Expect(impairmentOf(topology.Impairment{
		Delay: 1, Jitter: 2, Distribution: topology.Normal, LossPercent: 3, ReorderPercent: 4, DuplicatePercent: 5,
		CorruptPercent: 6, Bursts: bursts, RateKbps: 7.5, QueueBytes: 8, QueueTime: 9,
	})).To(Equal(impair.Impairment{
		Delay: 1, Jitter: 2, Distribution: impair.Normal, LossPercent: 3, ReorderPercent: 4, DuplicatePercent: 5,
		CorruptPercent: 6, Bursts: impair.GilbertElliott(bursts), RateBits: 7500, QueueBytes: 8, QueueTime: 9,
	}))
	g.Expect(conditionsOf(topology.Conditions{Egress: topology.Impairment{Delay: 1}, Ingress: topology.Impairment{Delay: 2}})).
		To(Equal(fabric.Conditions{Egress: impair.Impairment{Delay: 1}, Ingress: impair.Impairment{Delay: 2}}))
}
