package impair

import (
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestStringIsShort(t *testing.T) {
	for want, i := range map[string]Impairment{
		"none": {QueueBytes: 5000, QueueTime: time.Second, Distribution: Normal},
		"delay 50ms±10ms, loss 0.5 %, rate 100 Mbit/s": {
			Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond, LossPercent: 0.5, RateBits: 100e6,
		},
		"delay 0s±2ms normal":               {Jitter: 2 * time.Millisecond, Distribution: Normal},
		"rate 1.5 Gbit/s, queue 9000 bytes": {RateBits: 1.5e9, QueueBytes: 9000, QueueTime: time.Second},
		"rate 56 kbit/s, queue 50ms":        {RateBits: 56e3, QueueTime: 50 * time.Millisecond},
		"rate 300 bit/s":                    {RateBits: 300},
		"delay 1s, reorder 1 %, duplicate 2 %, corrupt 0.01 %": {
			Delay: time.Second, ReorderPercent: 1, DuplicatePercent: 2, CorruptPercent: 0.01,
		},
		"loss in bursts 0.1 % good, 100 % bad, enter 1 %, leave 25 %": {
			LossPercent: 7, Bursts: GilbertElliott{EnterPercent: 1, LeavePercent: 25, LossGoodPercent: 0.1, LossBadPercent: 100},
		},
	} {
		NewWithT(t).Expect(i.String()).To(Equal(want))
	}
}

func TestIsZeroLooksAtWhatActs(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Impairment{QueueBytes: 1, QueueTime: 1, Distribution: Normal}.IsZero()).To(BeTrue())
	for _, i := range []Impairment{
		{Delay: 1},
		{Jitter: 1},
		{LossPercent: 1},
		{Bursts: GilbertElliott{EnterPercent: 1}},
		{RateBits: 1},
		{ReorderPercent: 1},
		{DuplicatePercent: 1},
		{CorruptPercent: 1},
	} {
		g.Expect(i.IsZero()).To(BeFalse(), "%+v", i)
	}
}

func TestValidateReportsEverything(t *testing.T) {
	g := NewWithT(t)
	err := Impairment{
		Delay: -time.Second, Jitter: 2 * time.Hour, QueueTime: -1, Distribution: 7, LossPercent: 101, RateBits: 0.5, QueueBytes: -1,
		ReorderPercent: -1, DuplicatePercent: math.NaN(), CorruptPercent: math.Inf(1), Bursts: GilbertElliott{LeavePercent: 200},
	}.Validate()
	for _, message := range []string{
		"delay -1s, want 0 to 1h0m0s", "jitter 2h0m0s, want 0 to 1h0m0s", "queue time -1ns, want 0 to 1h0m0s",
		"jitter distribution 7 is unknown, want uniform or normal", "loss 101 %, want 0 to 100 %",
		"rate 0.5 bit/s, want at least 1, or 0 for no limit", "queue of -1 bytes, want 0 or more",
		"reorder -1 %, want 0 to 100 %", "duplicate NaN %, want 0 to 100 %", "corrupt +Inf %, want 0 to 100 %",
		"bursts: leave 200 %, want 0 to 100 %",
		"bursts: enter 0 % and leave 200 %, want both above 0: else one of the states is for ever",
		"bursts: no loss in either state; bad is usually 100 %",
	} {
		g.Expect(err).To(MatchError(ContainSubstring(message)))
	}
	g.Expect(Impairment{ReorderPercent: 5}.Validate()).To(MatchError(
		"reorder 5 % without a delay: a frame sent ahead overtakes only those that wait; set a delay too"))
	for _, rate := range []float64{-1, math.NaN(), math.Inf(1)} {
		g.Expect(Impairment{RateBits: rate}.Validate()).To(MatchError(ContainSubstring("bit/s, want at least 1")))
	}
	g.Expect(Impairment{}.Validate()).To(Succeed())
	g.Expect(Impairment{
		Delay: time.Second, Jitter: 2 * time.Second, Distribution: Normal, RateBits: 1, ReorderPercent: 100, DuplicatePercent: 100,
		CorruptPercent: 100, Bursts: GilbertElliott{EnterPercent: 1, LeavePercent: 30, LossBadPercent: 100},
	}.Validate()).To(Succeed())
}

func TestLossOfBurstsInTheLongRun(t *testing.T) {
	g := NewWithT(t)
	g.Expect(GilbertElliott{EnterPercent: 1, LeavePercent: 24, LossBadPercent: 100}.LossPercent()).To(BeNumerically("~", 4, 1e-9))
	g.Expect(GilbertElliott{LossGoodPercent: 3}.LossPercent()).To(BeEquivalentTo(3))
}
