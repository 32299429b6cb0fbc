package matchers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onsi/gomega/types"
)

// Reacher is what BeReachable takes: the result of a probe.
type Reacher interface {
	// Reachable tells whether the other side has answered.
	Reachable() bool
}

// Loser is what HavePacketLoss takes.
type Loser interface {
	// LossPercent is the share of packets that did not arrive, or were not answered, 0 to 100.
	LossPercent() float64
}

// RoundTripper is what HaveRTT takes.
type RoundTripper interface {
	// RoundTrips are the times of all answers, in any order.
	RoundTrips() []time.Duration
}

// Carrier is what HaveThroughput takes.
type Carrier interface {
	// BitsPerSecond is the rate of the payload that arrived.
	BitsPerSecond() float64
}

// BeReachable succeeds if the probe's other side has answered: the echo of a ping, an open TCP port.
func BeReachable() types.GomegaMatcher { return reachMatcher{} }

// HavePacketLoss succeeds if the share of lost packets, in percent from 0 to 100, satisfies the matcher, such as
// BeNumerically("<", 1).
func HavePacketLoss(percent types.GomegaMatcher) types.GomegaMatcher {
	return figureMatcher{name: "HavePacketLoss", figure: loss{}, want: percent}
}

// HaveRTT succeeds if the median of the round trips, a time.Duration, satisfies the matcher, such as
// BeNumerically("~", 100*time.Millisecond, 5*time.Millisecond). Without an answer there is none, and it fails, also when
// negated.
func HaveRTT(median types.GomegaMatcher) types.GomegaMatcher {
	return figureMatcher{name: "HaveRTT", figure: rtt{}, want: median}
}

// HaveThroughput succeeds if the rate at which payload arrived, in bit/s, satisfies the matcher, such as
// BeNumerically(">", 9*labtest.Mbps).
func HaveThroughput(bitsPerSecond types.GomegaMatcher) types.GomegaMatcher {
	return figureMatcher{name: "HaveThroughput", figure: throughput{}, want: bitsPerSecond}
}

type reachMatcher struct{}

// Match looks at what the probe saw.
func (reachMatcher) Match(actual any) (bool, error) {
	probe, err := as[Reacher]("BeReachable", "Reachable() bool", actual)
	if err != nil {
		return false, err
	}
	return probe.Reachable(), nil
}

// FailureMessage has the probe and what it saw instead.
func (reachMatcher) FailureMessage(actual any) string {
	return fmt.Sprintf("Expected probe\n%s\nto reach its other side, but no answer came%s", indent(describe(actual)), findings(actual))
}

// NegatedFailureMessage has the same evidence.
func (reachMatcher) NegatedFailureMessage(actual any) string {
	return fmt.Sprintf("Expected probe\n%s\nnot to reach its other side, but it did%s", indent(describe(actual)), findings(actual))
}

// MatchMayChangeInTheFuture is always false: a probe's result never changes. Eventually probes again where it is given
// the probe rather than its result.
func (reachMatcher) MatchMayChangeInTheFuture(any) bool { return false }

// figure is a number that a probe has measured.
type figure interface {
	name() string
	// read returns the number; ok is false where the probe has none.
	read(matcher string, actual any) (value any, ok bool, err error)
}

type loss struct{}

func (loss) name() string { return "packet loss" }

func (loss) read(matcher string, actual any) (any, bool, error) {
	probe, err := as[Loser](matcher, "LossPercent() float64", actual)
	if err != nil {
		return nil, false, err
	}
	return probe.LossPercent(), true, nil
}

type rtt struct{}

func (rtt) name() string { return "median round trip" }

func (rtt) read(matcher string, actual any) (any, bool, error) {
	probe, err := as[RoundTripper](matcher, "RoundTrips() []time.Duration", actual)
	if err != nil {
		return nil, false, err
	}
	times := slices.Sorted(slices.Values(probe.RoundTrips()))
	if len(times) == 0 {
		return time.Duration(0), false, nil
	}
	return times[len(times)/2], true, nil
}

type throughput struct{}

func (throughput) name() string { return "throughput in bit/s" }

func (throughput) read(matcher string, actual any) (any, bool, error) {
	probe, err := as[Carrier](matcher, "BitsPerSecond() float64", actual)
	if err != nil {
		return nil, false, err
	}
	return probe.BitsPerSecond(), true, nil
}

type figureMatcher struct {
	name   string
	figure figure
	want   types.GomegaMatcher
}

// Match gives the figure to the inner matcher.
func (m figureMatcher) Match(actual any) (bool, error) {
	if m.want == nil {
		return false, fmt.Errorf("%s needs a matcher for the %s, such as BeNumerically, and was given nil", m.name, m.figure.name())
	}
	value, ok, err := m.figure.read(m.name, actual)
	if err != nil {
		return false, err
	}
	if !ok {
		return false, fmt.Errorf("%s needs at least one answer, and the probe has none\n%s%s", m.name, indent(describe(actual)), findings(actual))
	}
	return m.want.Match(value)
}

// FailureMessage has the probe, what was wanted of the figure, and what else the probe saw.
func (m figureMatcher) FailureMessage(actual any) string {
	return m.message(actual, m.want.FailureMessage)
}

// NegatedFailureMessage has the same evidence.
func (m figureMatcher) NegatedFailureMessage(actual any) string {
	return m.message(actual, m.want.NegatedFailureMessage)
}

func (m figureMatcher) message(actual any, inner func(any) string) string {
	value, _, err := m.figure.read(m.name, actual)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("Unexpected %s of probe\n%s\n%s%s", m.figure.name(), indent(describe(actual)), inner(value), findings(actual))
}

// MatchMayChangeInTheFuture is always false: a probe's result never changes.
func (figureMatcher) MatchMayChangeInTheFuture(any) bool { return false }

// findings are the figures that the probe has, and what it reports besides.
func findings(actual any) string {
	var out strings.Builder
	if probe, ok := actual.(interface {
		Sent() int
		Received() int
	}); ok {
		fmt.Fprintf(&out, "\n%d sent, %d answered", probe.Sent(), probe.Received())
	}
	if probe, ok := actual.(RoundTripper); ok {
		if times := slices.Sorted(slices.Values(probe.RoundTrips())); len(times) > 0 {
			fmt.Fprintf(&out, "\nround trips: %s to %s, median %s", times[0], times[len(times)-1], times[len(times)/2])
		}
	}
	if probe, ok := actual.(interface{ Reports() []string }); ok && len(probe.Reports()) > 0 {
		out.WriteString("\nreports:\n" + indent(tail(strings.Join(probe.Reports(), "\n"))))
	}
	return out.String()
}
