package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// How often a terminal is drawn anew, and a plain log told how far the same stage is.
const (
	redrawEvery = 200 * time.Millisecond
	tellEvery   = 5 * time.Second
)

// stage is a piece of work that takes a while.
type stage struct {
	who, what   string
	note        string
	done, total int64 // total is 0 where it cannot be measured
	began, told time.Time
}

// progress shows stages: on a terminal one updating line for each stage that runs, above them those that are done;
// elsewhere a timestamped line for each. It is safe for concurrent use. Close it.
type progress struct {
	out  io.Writer
	now  func() time.Time
	size func() int // columns; nil where out is no terminal

	mu      sync.Mutex
	running []*stage // in order of their first stage, at most one for each who
	drawn   int      // lines on the screen that the next drawing replaces
	closed  bool

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// newProgress shows progress on w until Close. With -v there are no updating lines: they would break the log's.
func (a *app) newProgress(ctx context.Context) *progress {
	p := &progress{out: a.err, now: a.now}
	if file, ok := a.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) && !a.verbose {
		p.size = func() int {
			columns, _, err := term.GetSize(int(file.Fd()))
			if err != nil || columns < 20 {
				return 80
			}
			return columns
		}
	}
	p.begin(ctx)
	return p
}

func (p *progress) begin(ctx context.Context) {
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx)) // what goes on after a ^C is shown as well
	if p.size == nil {
		return
	}
	p.wg.Go(func() {
		ticker := time.NewTicker(redrawEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.redraw()
			case <-ctx.Done():
				return
			}
		}
	})
}

// update says what who is doing. A new stage ends the one before.
func (p *progress) update(s stage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	last := p.find(s.who)
	if last != nil && last.what == s.what {
		p.advance(last, s, now)
		return
	}
	if last != nil {
		p.finish(last, now)
	}
	s.began, s.told = now, now
	p.running = append(p.running, &s)
	if p.size == nil {
		p.line(s.who, s.text())
		return
	}
	p.draw()
}

// advance takes over how far a stage is. In a log that is told now and then, and at the end of what can be measured.
func (p *progress) advance(last *stage, s stage, now time.Time) {
	before := last.text()
	last.done, last.total = s.done, s.total
	if s.note != "" {
		last.note = s.note
	}
	complete := last.total > 0 && last.done == last.total
	if p.size == nil && last.text() != before && (complete || now.Sub(last.told) >= tellEvery) {
		last.told = now
		p.line(last.who, last.text())
	}
}

// tell ends the stage of who, and says something that stays.
func (p *progress) tell(who, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.find(who); last != nil {
		p.finish(last, p.now())
	}
	p.line(who, text)
	p.draw()
}

// Close ends the display. Stages that still run stay as they are.
func (p *progress) Close() error {
	if p == nil {
		return nil
	}
	p.stop()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.erase()
	for _, s := range p.running {
		if p.size != nil {
			p.line(s.who, s.text()+"  "+elapsed(p.now().Sub(s.began)))
		}
	}
	p.running = nil
	return nil
}

func (p *progress) find(who string) *stage {
	for _, s := range p.running {
		if s.who == who {
			return s
		}
	}
	return nil
}

// finish takes a stage from the running ones. On a terminal its line stays, with the time it took; in a log the time
// stamps tell that.
func (p *progress) finish(s *stage, now time.Time) {
	for i, one := range p.running {
		if one == s {
			p.running = append(p.running[:i], p.running[i+1:]...)
			break
		}
	}
	if p.size != nil {
		p.line(s.who, s.text()+"  "+elapsed(now.Sub(s.began)))
	}
}

// line writes a line that stays.
func (p *progress) line(who, text string) {
	if p.size == nil {
		fmt.Fprintf(p.out, "%s %s: %s\n", p.now().Format("15:04:05"), who, text)
		return
	}
	p.erase()
	fmt.Fprintf(p.out, "%-10s %s\n", who, text)
}

// text says what the stage is and how far.
func (s *stage) text() string {
	var parts []string
	for _, part := range []string{s.what, s.note} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if s.total > 0 {
		parts = append(parts, fmt.Sprintf("%d%% of %s", s.done*100/s.total, byteSize(s.total)))
	} else if s.done > 0 {
		parts = append(parts, byteSize(s.done))
	}
	return strings.Join(parts, "  ")
}
