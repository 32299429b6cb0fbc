package lab

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"ionlab/internal/guest"
	"ionlab/internal/image"
	"ionlab/internal/topology"
)

// Config is what a lab needs from outside.
type Config struct {
	Topology *topology.Topology
	Dirs     Dirs
	Log      *slog.Logger
	// Host is what the lab may ask of the machine it runs on.
	Host Host
	// Owner says in words who owns the lab, for `labtest list`.
	Owner string
	// Progress is called when something worth telling happens, from any goroutine. It must not block. May be nil.
	Progress func(Event)
	// Console returns where a copy of a node's serial console goes; nil for nowhere.
	Console func(node string) io.Writer
	// Observe is called after each operation inside a guest, from any goroutine. May be nil.
	Observe func(guest.Event)
	Limits  Limits
	// Seed is where the randomness of all impairments comes from; 0 is the topology's, or one that the lab draws.
	Seed uint64
	// Account finds the user that runs QEMU when we are root; QEMUAccount when nil.
	Account func() (*Account, error)
	// Capture returns where the frames of a network go that the topology wants captured; nil keeps none.
	Capture func(network string) (io.WriteCloser, error)
	// SkipMeasuring starts the lab without a look at whether its links do what the topology asks of them.
	SkipMeasuring bool
	// AllowFailedUnits lets a node be ready although systemd units failed in it.
	AllowFailedUnits bool
	// MemoryMB is what all labs on this host may have together, in MiB; 0 is LABTEST_MEMORY_MB, or seven eighths of the
	// host's memory. Labs that do not fit wait for others to end.
	MemoryMB int
	// ColdStart boots every node, although there may be a snapshot, and makes none.
	ColdStart bool
	// SetUp is done to the lab when its nodes are ready, before Start returns; nil for nothing.
	SetUp *SetUp
}

// Host is the part of the machine that a lab stands on. Package virt and package image implement it; tests fake it.
type Host interface {
	// Image makes an image ready for use.
	Image(ctx context.Context, req image.Request, progress func(image.Event)) (*image.Image, error)
	// Images are the names of the catalog.
	Images() []string
	// Accelerator decides between KVM and TCG, given kernels to prove it with.
	Accelerator(ctx context.Context, kernels []string) (accel, reason string)
	// Hypervisor starts a private hypervisor whose files lie in dir.
	Hypervisor(ctx context.Context, dir string, account *Account) (Hypervisor, error)
	// Overlay makes a qcow2 disk of size bytes on top of an image's disk.
	Overlay(ctx context.Context, path, base, format string, size int64) error
	// Rebase changes where an overlay, which nothing uses, looks for the same base: a path that begins at its own folder.
	Rebase(ctx context.Context, path, base, format string) error
	// Flatten puts an overlay, which nothing uses, on a base further down: it gets what the disks between the two have.
	Flatten(ctx context.Context, path, base, format string) error
}

// Limits bound the stages of a start, and the taking of evidence. A stage that cannot succeed any more ends sooner, with
// its reason.
type Limits struct {
	Boot     time.Duration // from power on to the first answer of sshd
	Sshd     time.Duration // from the console's word that sshd failed to an answer of one that was started again
	Login    time.Duration // from the first answer to the first login
	Init     time.Duration // cloud-init, with the packages it installs
	Units    time.Duration // systemd's start-up
	Evidence time.Duration // what is asked of one guest for evidence
	Boots    int           // how many nodes boot at once, of all labs that share the run folder; the others wait, and their time does not run
}

func (l Limits) withDefaults() Limits {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&l.Boot, 15*time.Minute)
	set(&l.Sshd, 30*time.Second)
	set(&l.Login, 2*time.Minute)
	set(&l.Init, 20*time.Minute)
	set(&l.Units, 4*time.Minute)
	set(&l.Evidence, 40*time.Second)
	if l.Boots == 0 {
		l.Boots = bootsAtOnce()
	}
	return l
}

// Event is a step in a lab's life, for progress and reports.
type Event struct {
	Time  time.Time
	Node  string // empty for the lab itself
	Stage string
	Note  string
	// Done and Total measure the stage where that can be told; Total is 0 where not.
	Done, Total int64
}

func (c Config) check() error {
	switch {
	case c.Topology == nil:
		return errors.New("make lab: no topology")
	case c.Host == nil:
		return errors.New("make lab: no host")
	case c.Log == nil:
		return errors.New("make lab: no logger")
	}
	return nil
}
