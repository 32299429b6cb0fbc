package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ionlab/internal/guest"
	"ionlab/internal/poll"
)

// shutdownLimit is how long a guest may take to shut down when ctx sets no bound.
const shutdownLimit = 3 * time.Minute

// Reboot restarts the guest from inside and waits until it is ready again: a new boot id, SSH, every unit started. Without KVM the
// new boot has a QEMU of its own.
func (n *Node) Reboot(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	before, err := bootID(ctx, l.guest)
	if err != nil {
		return fmt.Errorf("reboot node %q: %w", n.Name(), err)
	}
	n.setStatus("rebooting")
	if err := n.restart(ctx, l, before); err != nil {
		if l.err() == nil && !l.isStopping() {
			n.setStatus("failed at reboot")
		}
		return fmt.Errorf("reboot node %q: %w", n.Name(), err)
	}
	if err := n.settle(ctx, l, n.laterStages(l, afterLogin)); err != nil {
		return err
	}
	n.ready()
	return nil
}

// restart asks the guest to restart and waits for its new boot. Until then the end of its domain is no death.
func (n *Node) restart(ctx context.Context, l *life, before string) error {
	l.expect(true)
	defer l.expect(false)
	reset := l.nextReset()
	asking, stop := l.bind(ctx) // a domain that ends takes the connection along without a word
	defer stop()
	// The connection may go down before the answer comes: only a command that ran and failed is an error.
	res, err := l.guest.Run(asking, guest.Cmd{Argv: []string{"systemctl", "reboot"}, Timeout: time.Minute})
	if err == nil && res.ExitCode() != 0 && res.Signal() == "" {
		return fmt.Errorf("systemctl reboot exited with %d: %s", res.ExitCode(), strings.TrimSpace(res.Stderr()))
	}
	limit := n.lab.limits.Boot
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no new boot within %s", limit))
	defer cancel()
	if n.lab.Accelerator() == "tcg" {
		if err := n.renew(ctx, l, reset); err != nil {
			return err
		}
	}
	return n.awaitNewBoot(ctx, l, before)
}

// renew boots a guest that has begun to restart in another QEMU, with empty memory. Without KVM, the old one has to take back what it
// has translated of each page that the new boot overwrites: that takes longer than the boot.
func (n *Node) renew(ctx context.Context, l *life, reset <-chan struct{}) error {
	select {
	case <-reset:
	case <-l.over:
		return n.endedInstead(l)
	case <-l.dead:
		return l.err()
	case <-ctx.Done():
		return fmt.Errorf("the guest does not restart: %w", context.Cause(ctx))
	}
	give, err := l.take(ctx)
	if err != nil {
		return err
	}
	defer give()
	if l.ended() || l.isStopping() {
		return n.endedInstead(l)
	}
	gone := l.beginSave()
	if err := n.do(ctx, l, PowerOff); err != nil {
		l.cancelSave()
		return err
	}
	select {
	case <-gone:
	case <-l.over: // it had ended before anything was to come after it
		l.cancelSave()
		return n.endedInstead(l)
	case <-ctx.Done():
		l.cancelSave()
		return fmt.Errorf("the domain does not end: %w", context.Cause(ctx))
	}
	xml, err := n.bootXML(l)
	if err == nil {
		err = n.reenter(ctx, xml, func(h Hypervisor) (Machine, error) { return h.Create(ctx, n.domainName(), xml) })
	}
	if err != nil {
		n.kill(l, "its domain could not be started again")
	}
	return err
}

// endedInstead says why a domain has stopped that should have restarted: somebody asked for it, or the guest is dead.
func (n *Node) endedInstead(l *life) error {
	if l.isStopping() {
		return errors.New("it was stopped meanwhile")
	}
	n.kill(l, "the domain stopped instead of starting again")
	return l.err()
}

func (n *Node) awaitNewBoot(ctx context.Context, l *life, before string) error {
	return poll.Until(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		select {
		case <-l.over:
			return poll.Stop(n.endedInstead(l))
		case <-l.dead:
			return poll.Stop(l.err())
		default:
		}
		l.guest.Disconnect()
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		now, err := bootID(try, l.guest)
		if err != nil {
			return err
		}
		if now == before {
			return errors.New("the guest still runs the old boot")
		}
		return nil
	})
}

func bootID(ctx context.Context, g *guest.Client) (string, error) {
	res, err := g.Run(ctx, guest.Cmd{Argv: []string{"cat", "/proc/sys/kernel/random/boot_id"}})
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	if res.ExitCode() != 0 {
		return "", fmt.Errorf("read the boot id: %s", res.Stderr())
	}
	return strings.TrimSpace(res.Stdout()), nil
}

// Shutdown presses the power button and waits until the guest has shut down. When it does not within ctx, or within
// three minutes, the node stays as it is and the error says so; PowerOff does not ask.
func (n *Node) Shutdown(ctx context.Context) error {
	return n.stop(ctx, Shutdown, "shut down on request")
}

// PowerOff pulls the plug: nothing is flushed, nothing is asked.
func (n *Node) PowerOff(ctx context.Context) error {
	return n.stop(ctx, PowerOff, "powered off on request")
}

func (n *Node) stop(ctx context.Context, action Action, status string) error {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil {
		return nil // it is off
	}
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	if err := n.ask(ctx, l, action); err != nil {
		return err
	}
	if l.domain() == nil { // a snapshot or revert that failed has left no more of it
		n.leave(l)
		n.setStatus(status)
		return nil
	}
	select {
	case <-l.over:
	case <-ctx.Done():
		l.stopping(-1)
		return fmt.Errorf("%s node %q: the guest still runs: %w (PowerOff does not ask it)", action, n.Name(), context.Cause(ctx))
	}
	if n.leave(l) {
		n.setStatus(status)
		n.lab.doors.drop(n.Name())
	}
	if err := l.guest.Close(); err != nil {
		n.lab.log.Debug("close the connection of a stopped node", "node", n.Name(), "err", err)
	}
	return nil
}

// ask asks the domain to stop, if there is one. It waits for one that is about to follow.
func (n *Node) ask(ctx context.Context, l *life, action Action) error {
	give, err := l.take(ctx)
	if err != nil {
		return fmt.Errorf("%s node %q: it is being restarted, stopped or saved: %w", action, n.Name(), err)
	}
	defer give()
	machine := l.domain()
	if machine == nil && !l.ended() {
		return fmt.Errorf("%s node %q: its domain is being created", action, n.Name())
	}
	l.stopping(1)
	if l.isSaved() {
		l.end() // there is nothing more to stop
	}
	if machine == nil {
		return nil
	}
	if err := machine.Do(ctx, action); err != nil && l.err() == nil {
		l.stopping(-1)
		return err
	}
	return nil
}

// PowerOn starts the node again on its own disk and waits until it is ready. It is also the way back for a node
// that died.
func (n *Node) PowerOn(ctx context.Context) error {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l != nil && l.err() == nil {
		return fmt.Errorf("power on node %q: it runs", n.Name())
	}
	if l != nil {
		if err := n.PowerOff(ctx); err != nil {
			return fmt.Errorf("power on node %q: remove the dead domain: %w", n.Name(), err)
		}
	}
	l, err := n.ignite(ctx)
	if err != nil {
		return fmt.Errorf("power on node %q: %w", n.Name(), err)
	}
	if err := n.settle(ctx, l, n.laterStages(l, 0)); err != nil {
		return err
	}
	n.ready()
	return nil
}

// Pause stops the node's virtual CPUs. Operations on it hang until Resume; give them a ctx.
func (n *Node) Pause(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return n.do(ctx, l, Pause)
}

// Resume lets a paused node run on.
func (n *Node) Resume(ctx context.Context) error {
	l, err := n.alive()
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	return n.do(ctx, l, Resume)
}

func (n *Node) do(ctx context.Context, l *life, action Action) error {
	machine := l.domain()
	if machine == nil {
		return fmt.Errorf("%s node %q: its domain is being created", action, n.Name())
	}
	return machine.Do(ctx, action)
}
