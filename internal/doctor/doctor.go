// Package doctor looks at the host and says what ionlab would miss there, and what to do about it.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Status is what a check came to. It is written as its word in JSON.
type Status string

// The statuses, from good to bad.
const (
	// OK: nothing to do.
	OK Status = "ok"
	// Warn: labs run, but slower, with less, or not in every case.
	Warn Status = "warn"
	// Fail: no lab starts, or no image can be built, until it is remedied.
	Fail Status = "fail"
)

// A Check is one finding about the host.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail says what was found: a version, a path, an error.
	Detail string `json:"detail"`
	// Remedy says what to do; empty when Status is OK.
	Remedy string `json:"remedy,omitempty"`
}

// A Report holds every check, in an order that does not change from run to run.
type Report struct {
	// Status is the worst of the checks'.
	Status Status  `json:"status"`
	Checks []Check `json:"checks"`
}

// Config says what to examine. StateDir, CacheDir and RunDir are needed; the rest has a useful zero value.
type Config struct {
	// StateDir, CacheDir and RunDir are where labs, images and sockets will live. They need not exist yet.
	StateDir, CacheDir, RunDir string
	// KVM runs a kernel under KVM and says why that does not work, nil when it does. With a nil KVM only the
	// permissions of /dev/kvm are looked at, which proves little: a nested or paravirtual host may offer a device that
	// cannot run a stock kernel.
	KVM func(context.Context) error
	// Mirrors are the URLs that images are built from. Without any, they are the distribution's mirrors in apt's sources,
	// else Debian's.
	Mirrors []string
	// Timeout bounds each check; 10 s when zero. Checks run at the same time.
	Timeout time.Duration
	// Host is how the checks see the machine. Functions that are nil are the real ones.
	Host Host
}

// probe is one check: its name, how to find out, and whom it concerns.
type probe struct {
	name string
	run  func(context.Context, exam) Check
	who  who
}

// exam is what a probe may use: the configuration, with the real functions filled in, and the distribution.
type exam struct {
	Config
	distro distro
}

// Run makes every check at the same time and returns when all have an answer or their time is up, or when ctx ends.
// A check without an answer has failed and says how long it waited.
func Run(ctx context.Context, config Config) Report {
	if config.Timeout == 0 {
		config.Timeout = 10 * time.Second
	}
	config.Host = config.Host.withDefaults()
	subject := exam{Config: config, distro: readDistro(config.Host)}
	probes := slices.DeleteFunc(allProbes(), func(p probe) bool { return !p.applies(config.Host) })

	checks := make([]Check, len(probes))
	var all sync.WaitGroup
	for i, p := range probes {
		all.Go(func() { checks[i] = bounded(ctx, p, subject) })
	}
	all.Wait()
	return Report{Status: worst(checks), Checks: checks}
}

// bounded runs one probe. What does not listen to its context, such as a file system whose server is gone, is left
// behind: it holds nothing but its own stack, and a doctor that hangs is of no help.
func bounded(ctx context.Context, p probe, subject exam) Check {
	ctx, cancel := context.WithTimeout(ctx, subject.Timeout)
	defer cancel()
	began := time.Now()
	answer := make(chan Check, 1)
	go func() { answer <- p.run(ctx, subject) }()
	select {
	case check := <-answer:
		check.Name = p.name
		return check
	case <-ctx.Done():
		return Check{
			Name: p.name, Status: Fail,
			Detail: fmt.Sprintf("no answer after %s: %v", time.Since(began).Round(time.Millisecond), context.Cause(ctx)),
			Remedy: "run labtest doctor again; if it stays, the program or file system asked here hangs",
		}
	}
}

func worst(checks []Check) Status {
	status := OK
	for _, check := range checks {
		switch check.Status {
		case Fail:
			return Fail
		case Warn:
			status = Warn
		case OK:
		}
	}
	return status
}

func ok(format string, args ...any) Check {
	return Check{Status: OK, Detail: fmt.Sprintf(format, args...)}
}
