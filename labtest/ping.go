package labtest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PingOptions are what may be chosen for Node.Ping.
type PingOptions struct {
	// Count is how many echo requests are sent; 10 when 0.
	Count int
	// Interval is the time between two of them; 200 ms when 0.
	Interval time.Duration
	// Wait is how long the last answer is waited for while none has come at all; 5 s when 0. Once answers come, ping waits
	// twice as long as they took.
	Wait time.Duration
	// Size is that of the payload in bytes; 56 when 0.
	Size int
	// From is the network whose address the requests have as their source; the guest's routes decide when it is empty.
	From string
}

// PingResult is what came of a ping. It never changes. The matchers BeReachable, HavePacketLoss and HaveRTT take it.
type PingResult struct {
	command                    string
	sent, received, duplicates int
	times                      []time.Duration
	reports                    []string
}

// Command says who pinged whom.
func (r *PingResult) Command() string { return r.command }

// Sent is how many requests left.
func (r *PingResult) Sent() int { return r.sent }

// Received is how many of them were answered.
func (r *PingResult) Received() int { return r.received }

// Duplicates is how many answers came besides.
func (r *PingResult) Duplicates() int { return r.duplicates }

// LossPercent is the share of requests without an answer; 100 when none was sent.
func (r *PingResult) LossPercent() float64 {
	if r.sent == 0 {
		return 100
	}
	return 100 * float64(max(0, r.sent-r.received)) / float64(r.sent)
}

// Reachable tells whether an answer came.
func (r *PingResult) Reachable() bool { return r.received > 0 }

// RoundTrips are the times of the answers as the guest measured them, in the order in which they came, without
// duplicates. ping tells three digits: times above 100 ms are whole milliseconds.
func (r *PingResult) RoundTrips() []time.Duration { return slices.Clone(r.times) }

// MinRTT is the shortest round trip; 0 without an answer.
func (r *PingResult) MinRTT() time.Duration { return r.sorted(0) }

// MedianRTT is the middle of the round trips; 0 without an answer.
func (r *PingResult) MedianRTT() time.Duration { return r.sorted(len(r.times) / 2) }

// MaxRTT is the longest round trip; 0 without an answer.
func (r *PingResult) MaxRTT() time.Duration { return r.sorted(len(r.times) - 1) }

func (r *PingResult) sorted(at int) time.Duration {
	if len(r.times) == 0 {
		return 0
	}
	times := slices.Clone(r.times)
	slices.Sort(times)
	return times[at]
}

// Reports are what came instead of answers, each once, such as "10.0.0.1: Destination Host Unreachable".
func (r *PingResult) Reports() []string { return slices.Clone(r.reports) }

// GomegaString is the result in a few lines.
func (r *PingResult) GomegaString() string {
	if r == nil {
		return "<no result>"
	}
	text := fmt.Sprintf("%s: %d sent, %d answered, %d duplicates, %.4g %% lost", r.command, r.sent, r.received, r.duplicates, r.LossPercent())
	if len(r.times) > 0 {
		text += fmt.Sprintf(", RTT %s / %s / %s (min, median, max)", r.MinRTT(), r.MedianRTT(), r.MaxRTT())
	}
	for _, report := range r.reports {
		text += "\n" + report
	}
	return text
}

// Ping sends echo requests from inside the guest, by its own ping (Debian: iputils-ping), to a node by its name, to a
// name or to an address, over the data path. That nobody answers is a result; a name that the guest does not know, or
// a guest without ping, is an error.
func (n *Node) Ping(ctx context.Context, target string, opts ...PingOptions) (*PingResult, error) {
	o, err := pingOptions(opts)
	if err != nil {
		return nil, fmt.Errorf("ping %q from %q: %w", target, n.Name(), err)
	}
	source := ""
	if o.From != "" {
		addr, err := n.inner.Addr(o.From)
		if err != nil {
			return nil, fmt.Errorf("ping %q: %w", target, err)
		}
		source = addr.String()
	}
	return ping(ctx, n, n.Name(), target, source, o)
}

// runner runs commands in a guest.
type runner interface {
	Run(ctx context.Context, cmd Cmd) (*Result, error)
}

func pingOptions(opts []PingOptions) (PingOptions, error) {
	var o PingOptions
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return o, errors.New("give one PingOptions at most")
	}
	if o.Count < 0 || o.Interval < 0 || o.Wait < 0 || o.Size < 0 {
		return o, fmt.Errorf("%+v: nothing of it may be negative", o)
	}
	orElse(&o.Count, 10)
	orElse(&o.Interval, 200*time.Millisecond)
	orElse(&o.Wait, 5*time.Second)
	orElse(&o.Size, 56)
	return o, nil
}

func orElse[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

func ping(ctx context.Context, guest runner, node, target, source string, o PingOptions) (*PingResult, error) {
	argv := []string{
		"ping", "-n", "-c", strconv.Itoa(o.Count), "-i", seconds(o.Interval), "-W", seconds(o.Wait), "-s", strconv.Itoa(o.Size),
	}
	if source != "" {
		argv = append(argv, "-I", source)
	}
	res, err := guest.Run(ctx, Cmd{Argv: append(argv, "--", target), Env: map[string]string{"LC_ALL": "C"}})
	if err != nil {
		return nil, err
	}
	r, err := parsePing(res.Stdout(), res.Stderr())
	if err != nil {
		return nil, toolError(res, node, "ping", "iputils-ping", err)
	}
	r.command = fmt.Sprintf("ping -c %d %s from %s", o.Count, target, node)
	return r, nil
}

// seconds writes a time as ping wants it.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// notFound is the exit status of a program that is not there (POSIX.1, 2.8.2).
const notFound = 127

// toolError says what to do about a tool that is missing, or else what it said.
func toolError(res *Result, node, tool, pkg string, cause error) error {
	if res.ExitCode() == notFound {
		return missing(node, tool, pkg)
	}
	return fmt.Errorf("%w\n%s", cause, res.GomegaString())
}

func missing(node, tool, pkg string) error {
	return fmt.Errorf("node %q has no %s: add %s to its packages in the topology", node, tool, pkg)
}

// What ping of iputils and of busybox prints in the language C.
var (
	pingAnswer  = regexp.MustCompile(`^\d+ bytes from .*seq=\d+ .*time=([\d.]+) ms(.*)$`)            //nolint:gochecknoglobals // constants.
	pingReport  = regexp.MustCompile(`^From (\S+)(?: \(\S+\))?:? icmp_seq=\d+ (.+)$`)                //nolint:gochecknoglobals // constants.
	pingSummary = regexp.MustCompile(`^(\d+) packets transmitted, (\d+) (?:packets )?received\b.*$`) //nolint:gochecknoglobals // constants.
)

// parsePing reads what ping printed.
func parsePing(stdout, stderr string) (*PingResult, error) {
	r := &PingResult{}
	summed := false
	for line := range strings.Lines(stdout) {
		line = strings.TrimRight(line, "\r\n")
		if found := pingAnswer.FindStringSubmatch(line); found != nil {
			if strings.Contains(found[2], "DUP!") {
				r.duplicates++
				continue
			}
			ms, err := strconv.ParseFloat(found[1], 64)
			if err != nil {
				return nil, fmt.Errorf("read ping's line %q: %w", line, err)
			}
			r.times = append(r.times, time.Duration(ms*float64(time.Millisecond)))
		} else if found := pingReport.FindStringSubmatch(line); found != nil {
			r.report(found[1] + ": " + found[2])
		} else if found := pingSummary.FindStringSubmatch(line); found != nil {
			r.sent, _ = strconv.Atoi(found[1]) // digits, and no guest sends more than an int counts
			r.received, _ = strconv.Atoi(found[2])
			summed = true
		}
	}
	switch {
	case summed:
		return r, nil
	case strings.Contains(stderr, "unreachable"): // the guest has no way there at all
		_, why, _ := strings.Cut(strings.TrimSpace(stderr), "connect: ")
		r.report(why)
		return r, nil
	}
	return nil, errors.New("ping did not say how it went")
}

func (r *PingResult) report(text string) {
	if !slices.Contains(r.reports, text) {
		r.reports = append(r.reports, text)
	}
}
