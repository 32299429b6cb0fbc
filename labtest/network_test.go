package labtest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"ionlab/internal/lab"
)

// Outside of a running Ginkgo node nothing is brought back by itself, and nothing may panic or end the process.

func do(t testing.TB, err error) {
	t.Helper()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
}

// state is what a link does, for Eventually.
func state(k *Link) func() string { return k.inner.State }

func TestNetworkNodeAndLink(t *testing.T) {
	g := NewWithT(t)
	ctx := within(t)
	l := newNetworks(t, site)
	alice, bob := l.Node("alice"), l.Node("bob")
	wan := l.Network("wan")
	do(t, wan.Impair(ctx, Impairment{Loss: 2, Jitter: time.Millisecond}))
	do(t, alice.Impair(ctx, Impairment{Duplicate: 1, On: Ingress}))
	do(t, bob.Link("wan").Impair(ctx, Impairment{Loss: None}))
	g.Expect(wan.Links()).To(HaveLen(2))
	g.Expect(alice.Links()).To(HaveLen(2))
	g.Expect(alice.Link("wan").GomegaString()).
		To(Equal("<link alice@wan: egress delay 5ms±1ms, loss 2 %; ingress delay 5ms±1ms, loss 2 %, duplicate 1 %>"))
	g.Expect(alice.Link("lan").GomegaString()).To(Equal("<link alice@lan: egress none; ingress duplicate 1 %>"))
	g.Expect(bob.Link("wan").GomegaString()).To(Equal("<link bob@wan: delay 5ms±1ms>"))
	g.Expect(wan.GomegaString()).To(Equal("<network wan, 10.1.0.0/24>"))
	do(t, bob.Link("wan").Down(ctx))
	g.Expect(state(bob.Link("wan"))()).To(HavePrefix("down; "))
	do(t, bob.Link("wan").Up(ctx))
	do(t, bob.Link("wan").Reset(ctx))
	g.Expect(state(bob.Link("wan"))()).To(Equal("delay 5ms"))
	do(t, wan.Reset(ctx))
	g.Expect(state(alice.Link("wan"))()).To(Equal("delay 5ms"))
	counters, err := bob.Link("wan").Counters()
	do(t, err)
	g.Expect(counters.Dropped[Lost]).To(BeZero())
	do(t, l.Partition(ctx, []string{"alice"}, []string{"bob"}))
	g.Expect(l.inner.Cuts()).To(HaveLen(2))
	do(t, l.Heal(ctx))
	do(t, l.PartitionOneWay(ctx, []string{"alice"}, []string{"bob"}))
	g.Expect(l.inner.Cuts()).To(HaveLen(1))
}

func TestNetworkErrors(t *testing.T) {
	g := NewWithT(t)
	l := newNetworks(t, site)
	wan := l.Network("wan")
	g.Expect(wan.Impair(within(t), Impairment{})).To(MatchError(ContainSubstring("nothing is asked for")))
	g.Expect(wan.Impair(within(t), Impairment{Loss: 200})).To(MatchError(ContainSubstring(`impair link of "alice" on network "wan": loss 200 %, want 0 to 100 %`)))
	over, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("the spec is over"))
	g.Expect(wan.Impair(over, Impairment{Loss: 1})).To(MatchError("network wan: impair loss 1 %: the spec is over"))
	g.Expect(l.close()).To(Succeed())
	err := wan.Impair(within(t), Impairment{Loss: 1})
	g.Expect(err).To(MatchError(lab.ErrClosed))
	g.Expect(err.Error()).To(ContainSubstring("no later try can succeed"))
	_, err = wan.Links()[0].Counters()
	g.Expect(err).To(MatchError(lab.ErrClosed))
	_, err = wan.Capture(within(t))
	g.Expect(err).To(MatchError(lab.ErrClosed))
}

func TestImpairmentCarriesEveryField(t *testing.T) {
	g := NewWithT(t)
	var i Impairment
	fill(reflect.ValueOf(&i).Elem())
	change := reflect.ValueOf(i.change())
	for f := range change.NumField() {
		g.Expect(change.Field(f).IsZero()).To(BeFalse(), change.Type().Field(f).Name)
	}
	g.Expect(i.change().Bursts).To(And(HaveField("LeavePercent", 2.0), HaveField("LossBadPercent", 4.0)))
	g.Expect(i.String()).To(Equal("preset x, delay 1ns, jitter 2ns, distribution x, loss 3 %, bursts enter 1 %, leave 2 %, good 3 %, bad 4 %, " +
		"rate 5 bit/s, queue bytes 6, queue 7ns, reorder 8 %, duplicate 9 %, corrupt 10 %, on egress only"))
	g.Expect(Impairment{Delay: None, Loss: None, Rate: None, Bursts: GilbertElliott{Enter: None}}.String()).
		To(Equal("delay none, loss none, bursts none, rate none"))
}

// fill makes every field something else than zero.
func fill(v reflect.Value) {
	next := 1
	for f := range v.NumField() {
		field := v.Field(f)
		switch field.Kind() {
		case reflect.Struct:
			fill(field)
			next++
			continue
		case reflect.String:
			field.SetString("x")
			continue
		case reflect.Float64:
			field.SetFloat(float64(next))
		default:
			field.SetInt(int64(next))
		}
		if v.Type().Field(f).Name != "On" {
			next++
		}
	}
}

func TestRates(t *testing.T) {
	g := NewWithT(t)
	for want, rate := range map[string]Rate{"100 Mbit/s": 100 * Mbps, "1.5 Gbit/s": 1.5 * Gbps, "56 kbit/s": 56 * Kbps, "300 bit/s": 300} {
		g.Expect(rate.String()).To(Equal(want))
	}
	g.Expect([]string{Both.String(), Egress.String(), Ingress.String(), Direction(7).String()}).To(Equal([]string{"both", "egress", "ingress", "direction 7"}))
}

func TestTimelines(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Flap(10*time.Second, 2*time.Second)).To(Equal(Timeline{Repeat: true, Steps: []Change{
		{After: 8 * time.Second, Link: Down}, {After: 2 * time.Second, Link: Up},
	}}))
	worse := Degrade(Impairment{Delay: 10 * time.Millisecond, Rate: 10 * Mbps, Distribution: Uniform, Duplicate: 4},
		Impairment{Delay: 30 * time.Millisecond, Loss: 10, Rate: Mbps, Jitter: None, Duplicate: None, Distribution: Normal}, time.Minute, 3)
	g.Expect(worse).To(Equal(Timeline{Steps: []Change{
		{Impair: Impairment{Delay: 10 * time.Millisecond, Jitter: None, Loss: None, Rate: 10 * Mbps, Distribution: Uniform, Duplicate: 4}},
		{After: 30 * time.Second, Impair: Impairment{Delay: 20 * time.Millisecond, Jitter: None, Loss: 5, Rate: 5.5 * Mbps, Distribution: Uniform, Duplicate: 2}},
		{After: 30 * time.Second, Impair: Impairment{Delay: 30 * time.Millisecond, Jitter: None, Loss: 10, Rate: Mbps, Distribution: Normal, Duplicate: None}},
	}}))
	burst := GilbertElliott{Enter: 2, Leave: 20, LossBad: 100}
	bursty := Degrade(Impairment{}, Impairment{Bursts: burst, Rate: Mbps}, time.Second, 1)
	g.Expect(bursty.Steps).To(Equal([]Change{
		{Impair: Impairment{Bursts: GilbertElliott{Enter: None}}},
		{After: time.Second, Impair: Impairment{Bursts: burst, Rate: Mbps}},
	}))
	var total time.Duration
	for _, step := range Degrade(Impairment{}, Impairment{Loss: 1}, time.Second, 8).Steps {
		total += step.After
	}
	g.Expect(total).To(Equal(time.Second), "whatever a seventh of it is")
}

func TestScheduleOnANetwork(t *testing.T) {
	g := NewWithT(t)
	l := newNetworks(t, site)
	alice, bob := l.Node("alice").Link("wan"), l.Node("bob").Link("wan")
	s, err := l.Network("wan").Schedule(within(t),
		Timeline{Steps: []Change{{Link: Down}, {After: 5 * time.Millisecond, Link: Reset, Impair: Impairment{Loss: 7}}}},
		Timeline{Steps: []Change{{Do: func(ctx context.Context) error { return l.Partition(ctx, []string{"alice"}, []string{"bob"}) }}}})
	do(t, err)
	do(t, s.Wait(within(t)))
	for _, k := range []*Link{alice, bob} {
		g.Expect(state(k)()).To(Equal("delay 5ms, loss 7 %"))
	}
	g.Expect(l.inner.Cuts()).To(HaveLen(2), "what it has changed stays until Stop")
	do(t, s.Stop())
	g.Expect(state(alice)()).To(Equal("delay 5ms"))
	g.Expect(l.inner.Cuts()).To(BeEmpty(), "Do changed it with the schedule's ctx")
	s, err = bob.Schedule(within(t), Flap(4*time.Millisecond, 2*time.Millisecond))
	do(t, err)
	g.Eventually(state(bob)).WithTimeout(patience).WithPolling(time.Millisecond).Should(HavePrefix("down"))
	over, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	g.Expect(s.Wait(over)).To(MatchError("wait for the end of a schedule: enough"))
	do(t, s.Stop())
	g.Eventually(s.Done()).WithTimeout(patience).Should(BeClosed())
	g.Expect(state(bob)()).To(Equal("delay 5ms"))
}

func TestSchedulesThatCannotBe(t *testing.T) {
	l := newNetworks(t, site)
	wan := l.Network("wan")
	schedule := func(tl ...Timeline) error { _, err := wan.Schedule(within(t), tl...); return err }
	for name, test := range map[string]struct {
		err  error
		want types.GomegaMatcher
	}{
		"nothing":   {schedule(), Equal("schedule: there is no timeline")},
		"no change": {schedule(Timeline{Steps: []Change{{After: time.Second}}}), Equal("schedule: timeline 1, step 1: it changes nothing: set Link, Impair or Do")},
		"unknown":   {schedule(Timeline{Steps: []Change{{Link: "sideways"}}}), Equal(`schedule: timeline 1, step 1: Link is "sideways"; there are "down", "up" and "reset"`)},
		"backwards": {schedule(Flap(time.Second, 2*time.Second)), ContainSubstring("step 1 comes -1s after the one before")},
	} {
		NewWithT(t).Expect(test.err).To(MatchError(test.want), name)
	}
	g := NewWithT(t)
	_, err := l.Schedule(within(t), Flap(2*time.Second, time.Second))
	g.Expect(err).To(MatchError("schedule: timeline 1, step 1: there is no link to change: schedule it on a network or a link"))
	inner := func(ctx context.Context) error {
		_, err := wan.Schedule(ctx, Flap(2*time.Second, time.Second))
		return err
	}
	s, err := l.Schedule(within(t), Timeline{Steps: []Change{{Do: inner}}})
	do(t, err)
	g.Expect(s.Wait(within(t))).To(MatchError(ContainSubstring("a schedule cannot begin another: give both timelines to one")))
	g.Expect(s.Stop()).To(HaveOccurred())
}

func TestLabTellsAndTakesTheSeed(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("LABTEST_SEED", "12345")
	g.Expect(newTestLab(t).Seed()).To(Equal(uint64(12345)))
	g.Expect(newTestLab(t, WithSeed(7)).Seed()).To(Equal(uint64(7)))
	g.Expect(newTestLab(t).startReport()).To(ContainSubstring("impairment seed 12345"))
	for _, bad := range []string{"0", "x", "-1"} {
		t.Setenv("LABTEST_SEED", bad)
		_, err := seedOf(settings{})
		g.Expect(err).To(MatchError(ContainSubstring("LABTEST_SEED=\"" + bad + "\": give the number that the run to repeat has printed")))
	}
}
