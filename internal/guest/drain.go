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
	closeTime    = 5 * time.Second        // for sshd's answer to the closing of the channel
	idleSample   = 5 * time.Millisecond   // how often our own lag behind what arrived is looked at
	idleSamples  = 4                      // and how many times in a row there must be none
	mostUnderway = 8 << 20                // more cannot be between program and sink: two flow control windows per stream
)

// ending is what drain has found out so far.
type ending struct {
	p       *Process
	quiet   *time.Timer     // fires when there was no output for a while
	enough  *time.Timer     // fires when the output does not stop, or sshd does not answer the closing
	silence <-chan struct{} // closed when sshd has answered after a quiet time
	passed  <-chan struct{} // closed when sshd has answered often enough after a long time
	before  int64           // how much had come when sshd was asked
	closing bool            // all has arrived that counts, and the channel is being closed
}

// drain takes the output that is still under way after the exit. The end of the output is the end of the channel. Where
// a background process holds that open, it is closed here when all has arrived that the program can have written: sshd
// handles requests and output in one loop and in order, so its answers prove what time alone cannot on a machine under
// load. What has arrived is then passed on, however slow the sink is.
//
// It reports whether the process was given up meanwhile, and whether it closed the channel itself.
func (p *Process) drain(ctx context.Context) (gone, closing bool) {
	e := &ending{p: p, quiet: time.NewTimer(quietTime), enough: time.NewTimer(drainTime)}
	defer e.quiet.Stop()
	defer e.enough.Stop()
	eof, closed := p.eof, p.closed
	for eof != nil || closed != nil {
		select {
		case <-eof:
			eof = nil
		case <-closed:
			closed = nil
		case <-e.enough.C:
			switch {
			case closed == nil: // All is here; it is only our sink that takes so long.
			case e.closing:
				return false, true
			default:
				e.passed = p.answers(drainProbes)
			}
		case <-p.activity:
			e.sawOutput()
		case <-e.quiet.C:
			e.askWhetherQuiet()
		case <-e.silence:
			e.heardSilence()
		case <-e.passed:
			e.close()
		case cause := <-p.stop:
			p.abort(ctx, cause)
			return true, false
		case <-p.client.cfg.Dead:
			p.machineDied()
			return true, false
		}
	}
	return false, e.closing
}

// sawOutput starts the waiting for silence again.
func (e *ending) sawOutput() {
	if e.closing {
		e.enough.Reset(closeTime)
		return
	}
	e.quiet.Reset(quietTime)
}

// askWhetherQuiet asks sshd, unless it is our own sink that takes so long: that says nothing about the guest.
func (e *ending) askWhetherQuiet() {
	var busy bool
	if e.before, busy = e.p.progress(); busy {
		e.quiet.Reset(quietTime)
		return
	}
	e.silence = e.p.answers(quietProbes)
}

// heardSilence closes the channel if nothing came while sshd was asked.
func (e *ending) heardSilence() {
	e.silence = nil
	if now, busy := e.p.progress(); now == e.before && !busy {
		e.close()
		return
	}
	e.quiet.Reset(quietTime)
}

// close closes the channel; its end then comes behind all that has arrived.
func (e *ending) close() {
	e.silence, e.passed = nil, nil
	if e.closing {
		return
	}
	e.closing = true
	e.quiet.Stop()
	e.enough.Reset(closeTime)
	e.p.closeChannel()
}

// progress adds up both streams.
func (p *Process) progress() (total int64, busy bool) {
	out, outBusy := p.out.progress()
	err, errBusy := p.err.progress()
	return out + err, outBusy || errBusy
}

// answers returns a channel that is closed when sshd has answered n times, with our readers waiting for more.
func (p *Process) answers(n int) <-chan struct{} {
	done := make(chan struct{})
	p.client.wg.Go(func() {
		defer close(done)
		p.catchUp()
		for range n {
			<-p.client.probe(p.ch.conn)
		}
	})
	return done
}

// catchUp waits until our own readers have taken what has arrived, so that flow control does not keep sshd from sending.
func (p *Process) catchUp() {
	tick := time.NewTicker(idleSample)
	defer tick.Stop()
	first, _ := p.progress()
	last := first
	for idle := 0; idle < idleSamples; {
		select {
		case <-tick.C:
		case <-p.eof:
			return
		case <-p.done:
			return
		}
		now, busy := p.progress()
		if now > first+mostUnderway {
			return
		}
		idle++
		if busy || now != last {
			idle = 0
		}
		last = now
	}
}
