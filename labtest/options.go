package labtest

import (
	"log/slog"
	"time"

	"ionlab/internal/lab"
)

// Option changes how Start makes a lab.
type Option func(*settings)

type settings struct {
	log              *slog.Logger
	limits           lab.Limits
	allowFailedUnits bool
	skipMeasuring    bool
	coldStart        bool
	seed             uint64
	setup            *Setup
}

// WithLogger sends what the framework does to a logger. By default it goes nowhere; the report has its own account.
func WithLogger(log *slog.Logger) Option { return func(s *settings) { s.log = log } }

// WithBootTimeout bounds the time from power on to the first answer of the guest's SSH server. The default is a
// quarter of an hour, for a busy host without KVM; a machine that cannot come up any more ends the wait sooner.
func WithBootTimeout(d time.Duration) Option { return func(s *settings) { s.limits.Boot = d } }

// WithInitTimeout bounds cloud-init, with the packages it installs. The default is twenty minutes.
func WithInitTimeout(d time.Duration) Option { return func(s *settings) { s.limits.Init = d } }

// AllowFailedUnits lets a node be ready although systemd units failed in it.
func AllowFailedUnits() Option { return func(s *settings) { s.allowFailedUnits = true } }

// WithSeed makes the randomness of all impairments begin at a number that an earlier run has printed, rather than at the
// topology's, that of LABTEST_SEED, or one drawn by chance.
func WithSeed(seed uint64) Option { return func(s *settings) { s.seed = seed } }

// WithoutMeasuring starts the lab without measuring whether its links do what the topology asks of them.
func WithoutMeasuring() Option { return func(s *settings) { s.skipMeasuring = true } }

// WithColdStart boots every node from its image, although an earlier run may have left a snapshot of the lab, and leaves
// none. LABTEST_WARM=off does the same for all labs.
func WithColdStart() Option { return func(s *settings) { s.coldStart = true } }
