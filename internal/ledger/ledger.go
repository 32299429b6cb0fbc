// Package ledger keeps the books of the memory that labs on one host may have together, across processes and checkouts.
// A lab that does not fit waits for others to end, in the order of arrival. Whoever dies gives back what it held: each
// reservation is a file with a flock(2) on it, which the kernel frees with its owner.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ionlab/internal/lock"
	"ionlab/internal/poll"
)

// lookEvery is how often a waiting claim looks whether it fits by now.
const lookEvery = 250 * time.Millisecond

// Config says where the books are and what there is to give.
type Config struct {
	// Dir holds the ledger's files and nothing else; it is made when missing. All who share it share the memory.
	Dir string
	// BudgetMB is what all labs may have together, in MiB.
	BudgetMB int
	// AvailableMB is what the host could give to new programs now, in MiB; 0 when that is not known.
	AvailableMB func() int
}

// Ledger admits labs to the host's memory. It is safe for concurrent use.
type Ledger struct{ cfg Config }

// Claim is what a lab wants or has.
type Claim struct {
	Lab      string    `json:"lab"`      // its id
	Topology string    `json:"topology"` // its name
	Owner    string    `json:"owner"`    // in words
	MB       int       `json:"mb"`
	Waiting  bool      `json:"waiting"`
	Since    time.Time `json:"since"`
}

// String says who it is and how much, for messages.
func (c Claim) String() string {
	text := fmt.Sprintf("lab %s (%s", c.Lab, c.Topology)
	if c.Owner != "" {
		text += ", " + c.Owner
	}
	return text + fmt.Sprintf(") %d MiB", c.MB)
}

// ErrTooLarge is the error of a claim that no end of another lab would make room for.
var ErrTooLarge = errors.New("too large for this host")

// Open makes the ledger's folder.
func Open(cfg Config) (*Ledger, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the ledger of memory: %w", err)
	}
	return &Ledger{cfg: cfg}, nil
}

// Reservation is memory that a lab has until Close, or until its process dies.
type Reservation struct {
	path string
	held *lock.Lock
}

// Reserve waits until there is room for the claim and all that came before it, and takes it. waiting is told what it waits
// for, at first and whenever that changes; ctx bounds the wait. A claim that will never fit is ErrTooLarge at once.
func (l *Ledger) Reserve(ctx context.Context, claim Claim, waiting func(why string)) (*Reservation, error) {
	claim.Waiting, claim.Since = true, time.Now()
	var r *Reservation
	told := ""
	err := poll.Until(ctx, lookEvery, func(ctx context.Context) error {
		unlock, err := l.lock(ctx)
		if err != nil {
			return poll.Stop(err)
		}
		defer unlock()
		if r == nil {
			if r, err = l.enter(claim); err != nil {
				return poll.Stop(err)
			}
		}
		why, err := l.obstacle(claim, r)
		if err != nil {
			return poll.Stop(err)
		}
		if why == "" {
			claim.Waiting, claim.Since = false, time.Now()
			return poll.Stop(r.write(claim))
		}
		if why != told {
			told = why
			waiting(why)
		}
		return errors.New(why)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for memory: %w", err), r.Close())
	}
	return r, nil
}

// Claims are those of living owners, in the order of arrival.
func (l *Ledger) Claims(ctx context.Context) ([]Claim, error) {
	unlock, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := l.read()
	claims := make([]Claim, 0, len(entries))
	for _, e := range entries {
		claims = append(claims, e.claim)
	}
	return claims, err
}

// obstacle says what the claim, which is in the books as r, has to wait for; empty when it may be admitted.
func (l *Ledger) obstacle(claim Claim, r *Reservation) (string, error) {
	if claim.MB > l.cfg.BudgetMB {
		return "", fmt.Errorf("%w: the lab needs %d MiB, and all labs together may have %d", ErrTooLarge, claim.MB, l.cfg.BudgetMB)
	}
	entries, err := l.read()
	if err != nil {
		return "", err
	}
	var holders, before []string
	held := 0
	for _, e := range entries {
		switch {
		case e.path == r.path:
		case !e.claim.Waiting:
			holders = append(holders, e.claim.String())
			held += e.claim.MB
		case sequence(e.path) < sequence(r.path):
			before = append(before, e.claim.String())
		}
	}
	available := l.available()
	switch {
	case len(holders) == 0 && len(before) == 0 && claim.MB > available:
		return "", fmt.Errorf("%w: the lab needs %d MiB, the host has %d left, and no other lab has any", ErrTooLarge, claim.MB, available)
	case len(before) == 0 && held+claim.MB <= l.cfg.BudgetMB && claim.MB <= available:
		return "", nil
	}
	why := fmt.Sprintf("it needs %d MiB; of %d MiB for all labs %d are held", claim.MB, l.cfg.BudgetMB, held)
	if len(holders) > 0 {
		why += ": " + strings.Join(holders, ", ")
	}
	if len(before) > 0 {
		why += "; before it waits " + strings.Join(before, ", ")
	}
	if claim.MB > available {
		why += "; other programs leave too little of the host's memory"
	}
	return why, nil
}

// available is what the host has left; without knowledge the books alone decide.
func (l *Ledger) available() int {
	if l.cfg.AvailableMB != nil {
		if mb := l.cfg.AvailableMB(); mb > 0 {
			return mb
		}
	}
	return l.cfg.BudgetMB
}

// entry is a claim whose owner lives.
type entry struct {
	path  string
	claim Claim
}

// read lists the claims of living owners and removes those of dead ones. The caller holds the ledger's lock.
func (l *Ledger) read() ([]entry, error) {
	paths, err := filepath.Glob(filepath.Join(l.cfg.Dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(paths, func(a, b string) int { return sequence(a) - sequence(b) })
	var entries []entry
	for _, path := range paths {
		text, living, err := look(path)
		if err != nil {
			return nil, fmt.Errorf("read the ledger of memory: %w", err)
		}
		if !living {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("clear the ledger of memory: %w", err)
			}
			continue
		}
		e := entry{path: path}
		if err := json.Unmarshal(text, &e.claim); err != nil {
			return nil, fmt.Errorf("read the ledger of memory: %s: %w", path, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// look reads an entry and finds out whether somebody holds it.
func look(path string) (text []byte, living bool, err error) {
	held, err := lock.TryExisting(path, lock.Shared)
	switch {
	case err == nil:
		return nil, false, held.Close()
	case errors.Is(err, lock.ErrBusy):
		text, err = os.ReadFile(path)
	}
	if errors.Is(err, os.ErrNotExist) { // given back just now
		return nil, false, nil
	}
	return text, true, err
}

const suffix = ".claim"

// sequence is the place in the order of arrival that an entry's name has.
func sequence(path string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), suffix)) // other names sort first
	return n
}

// enter writes the claim behind all others and takes its lock. The caller holds the ledger's lock.
func (l *Ledger) enter(claim Claim) (*Reservation, error) {
	entries, err := l.read()
	if err != nil {
		return nil, err
	}
	next := 1
	if len(entries) > 0 {
		next = sequence(entries[len(entries)-1].path) + 1
	}
	path := filepath.Join(l.cfg.Dir, fmt.Sprintf("%09d%s", next, suffix))
	held, err := lock.Try(path, lock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("write into the ledger of memory: %w", err)
	}
	r := &Reservation{path: path, held: held}
	if err := r.write(claim); err != nil {
		return nil, errors.Join(fmt.Errorf("write into the ledger of memory: %w", err), r.Close())
	}
	return r, nil
}

// write replaces what the entry says. The caller holds the ledger's lock.
func (r *Reservation) write(claim Claim) error {
	text, err := json.Marshal(claim)
	if err != nil {
		return err
	}
	return r.held.Write(text)
}

// Close gives the memory back. It is idempotent and nil-safe.
func (r *Reservation) Close() error {
	if r == nil {
		return nil
	}
	return r.held.Remove()
}

// lock takes the ledger's own lock, under which entries are made, changed and judged.
func (l *Ledger) lock(ctx context.Context) (func(), error) {
	held, err := lock.Wait(ctx, filepath.Join(l.cfg.Dir, "lock"), lock.Exclusive, nil)
	if err != nil {
		return nil, fmt.Errorf("lock the ledger of memory: %w", err)
	}
	return func() { _ = held.Close() }, nil
}
