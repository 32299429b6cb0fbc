package guest

import (
	"context"
	"time"
)

// How the end of the output is found when something in the guest holds it open after the program's exit.
const (
	quietTime    = 200 * time.Millisecond // no output for that long, and sshd, asked
	quietProbes  = 2                      // that often, sends none either
	drainTime    = 2 * time.Second        // or it does not stop for that long, and sshd has answered
	drainProbes  = 16                     // that often since: each time it takes what is in the pipe, 16 KiB at least
	idleSample   = 5 * time.Millisecond   // how often our own lag behind what arrived is looked at
	mostUnderway = 8 << 20                // more cannot be between program and sink: two flow control windows per stream
)

// drain takes the output that is still under way after the exit. The end of the output is the end of the channel. Where
// a background process holds that open, it is when all has come that the program can have written: sshd handles
// requests and output in one loop and in order, so its answers prove what time alone cannot on a machine under load.
// It reports whether the process was given up meanwhile.
func (p *Process) drain(ctx context.Context) (gone bool) {
	quiet := time.NewTimer(quietTime)
	defer quiet.Stop()
	enough := time.NewTimer(drainTime)
	defer enough.Stop()
	var silence, passed <-chan struct{}
	var before int64
	eof, closed := p.eof, p.closed
	for eof != nil || closed != nil {
		select {
		case <-eof:
			eof = nil
		case <-closed:
			closed = nil
		case <-p.activity:
			quiet.Reset(quietTime)
		case <-quiet.C:
			var busy bool
			if before, busy = p.progress(); busy {
				quiet.Reset(quietTime) // Our own sink is slow: that says nothing about the guest.
				continue
			}
			silence = p.answers(quietProbes)
		case <-silence:
			silence = nil
			if now, _ := p.progress(); now == before {
				return false
			}
			quiet.Reset(quietTime)
		case <-enough.C:
			passed = p.answers(drainProbes)
		case <-passed:
			return false
		case cause := <-p.stop:
			p.abort(ctx, cause)
			return true
		case <-p.client.cfg.Dead:
			p.machineDied()
			return true
		}
	}
	return false
}

// progress adds up both streams.
func (p *Process) progress() (total int64, busy bool) {
	out, outBusy := p.out.progress()
	err, errBusy := p.err.progress()
	return out + err, outBusy || errBusy
}

// answers returns a channel that is closed when sshd has answered n times and all it sent before has been passed on.
func (p *Process) answers(n int) <-chan struct{} {
	done := make(chan struct{})
	p.client.wg.Go(func() {
		defer close(done)
		p.catchUp() // Flow control must not be what keeps sshd from sending.
		for range n {
			<-p.client.probe(p.ch.conn)
		}
		p.catchUp()
	})
	return done
}

// catchUp waits until our own readers have passed on what has arrived.
func (p *Process) catchUp() {
	tick := time.NewTicker(idleSample)
	defer tick.Stop()
	first, _ := p.progress()
	for last := first; ; {
		select {
		case <-tick.C:
		case <-p.eof:
			return
		case <-p.done:
			return
		}
		now, busy := p.progress()
		if now == last && !busy || now > first+mostUnderway {
			return
		}
		last = now
	}
}
