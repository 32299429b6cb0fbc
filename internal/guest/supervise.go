package guest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// supervise leads the process to its end and publishes the outcome.
func (p *Process) supervise(ctx context.Context) {
	var expired <-chan time.Time
	if p.cmd.Timeout > 0 {
		timer := time.NewTimer(p.cmd.Timeout)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case e := <-p.status:
		p.ended(ctx, e)
	case <-p.closed:
		select {
		case e := <-p.status:
			p.ended(ctx, e)
		default:
			p.lost(ctx)
		}
	case err := <-p.refused:
		p.closeChannel()
		p.fail(err, nil)
	case <-expired:
		p.abort(ctx, fmt.Errorf("timed out: it may run for %s: %w", p.cmd.Timeout, context.DeadlineExceeded))
	case cause := <-p.stop:
		p.abort(ctx, cause)
	case <-p.client.cfg.Dead:
		p.machineDied()
	}
}

// machineDied ends the process together with its machine: there is nobody left to ask.
func (p *Process) machineDied() {
	err := p.client.deadError()
	p.fail(err, nil)
	p.client.drop(err)
}

// ended handles a known exit: it takes what is left of the output and publishes the outcome.
func (p *Process) ended(ctx context.Context, e exit) {
	duration := time.Since(p.began)
	gone, closing := p.drain(ctx)
	if gone {
		return
	}
	if !closing && p.cutOff {
		<-p.ch.conn.dead
		p.fail(fmt.Errorf("exit code %d, but the output may lack its end: %w", e.code, p.ch.conn.lostError()), nil)
		return
	}
	if err := p.whyNoResult(e); err != nil {
		p.fail(err, nil)
		return
	}
	if p.launch.own {
		e.code -= ownBase
	}
	p.finish(e, duration)
}

// whyNoResult returns the error of a command that has an exit status, which is not that of its program.
func (p *Process) whyNoResult(e exit) error {
	select {
	case <-p.announced:
	default:
		if p.launch.own && e.code >= ownBase && e.signal == "" {
			return nil
		}
		detail := fmt.Sprintf("the login shell ended with code %d before the program started", e.code)
		select {
		case <-p.eof:
			detail += ": " + p.preamble
		default:
		}
		return &LaunchError{Stage: "shell", Detail: detail}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.message.failed != nil:
		return p.message.failed
	case p.inputErr != nil:
		return p.inputErr
	case e.code == 126 && p.launch.input != "" && strings.Contains(p.err.last(), "Argument list too long"):
		return fmt.Errorf("the guest's kernel does not take %d bytes of arguments and environment: %w: "+
			"pass the data through Stdin or a file", len(p.launch.input), syscall.E2BIG)
	}
	return nil
}

// lost handles a channel that ended without an exit status.
func (p *Process) lost(ctx context.Context) {
	select {
	case <-p.eof:
	case cause := <-p.stop:
		p.abort(ctx, cause)
		return
	}
	if !p.cutOff {
		p.fail(fmt.Errorf("%w: sshd closed the command's channel without an exit status", ErrOutcomeUnknown), nil)
		return
	}
	<-p.ch.conn.dead
	p.fail(fmt.Errorf("%w: %w", ErrOutcomeUnknown, p.ch.conn.lostError()), nil)
}

// finish publishes the result.
func (p *Process) finish(e exit, duration time.Duration) {
	p.out.detach()
	p.err.detach()
	r := &Result{command: p.cmd.String(), argv: p.cmd.Argv, code: e.code, signal: e.signal, duration: duration}
	if p.cmd.Shell != "" {
		r.argv = []string{"sh", "-c", p.cmd.Shell}
	}
	var cutOut, cutErr bool
	r.stdout, cutOut = p.out.content()
	r.stderr, cutErr = p.err.content()
	r.truncated = cutOut || cutErr
	p.mu.Lock()
	defer p.mu.Unlock()
	p.code, p.result = e.code, r
	close(p.done)
}

// fail publishes an error: the outcome is unknown, or not what was asked for. kill is the error of killing the program.
func (p *Process) fail(err, kill error) {
	p.out.detach()
	p.err.detach()
	if bad := p.client.check(); bad != nil && !errors.Is(err, errors.Unwrap(bad)) { // check names the node anew each time.
		err = fmt.Errorf("%w; %w", err, bad)
	}
	failure := p.describe(err)
	failure.Kill = kill
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure, p.code = failure, codeUnknown
	close(p.done)
}
