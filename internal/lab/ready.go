package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ionlab/internal/guest"
	"ionlab/internal/poll"
)

// stage is one step of a node's way to being ready.
type stage struct {
	name  string
	hint  string
	limit time.Duration
	wait  func(ctx context.Context, l *life) error
}

// bootStages lead from power on to ready.
func (n *Node) bootStages() []stage {
	limits := n.lab.limits
	return []stage{
		{"kernel", "the guest printed nothing on its serial console (does its kernel get console=ttyS0?)", limits.Boot, n.awaitConsole},
		{"sshd", "the guest boots, but its SSH server does not answer: see its console for a failed service or network", limits.Boot, n.awaitSSH},
		{"login", "cloud-init has not put the lab's key in place: did it find the seed? See /var/log/cloud-init.log on the console", limits.Login, n.awaitLogin},
		{initStage, "see /var/log/cloud-init-output.log in the artifacts", limits.Init, n.awaitInit},
		{"units", "`systemctl --failed` in the guest names the unit; its journal is in the artifacts", limits.Units, n.awaitUnits},
	}
}

// afterLogin is the first of bootStages in which the guest answers to the lab.
const afterLogin = 3

// laterStages are those of a boot that is not the first, from one of bootStages on: cloud-init may have no part in it.
func (n *Node) laterStages(l *life, from int) []stage {
	return slices.DeleteFunc(n.bootStages()[from:], func(s stage) bool { return s.name == initStage && l.leavesOutInit() })
}

const initStage = "cloud-init"

// settle goes through the stages, and says which one failed and why. Its caller announces the node as ready.
func (n *Node) settle(ctx context.Context, l *life, stages []stage) error {
	for _, s := range stages {
		n.setStatus("waiting for " + s.name)
		n.lab.tell(Event{Node: n.Name(), Stage: "waiting for " + s.name})
		began := time.Now()
		if err := n.runStage(ctx, l, s); err != nil {
			n.setStatus("failed at " + s.name)
			return &StageError{Node: n.Name(), Stage: s.name, Err: err, Hint: s.hint, Tail: n.console.last(12)}
		}
		n.mu.Lock()
		n.stages = append(n.stages, StageTime{s.name, time.Since(began)})
		n.mu.Unlock()
	}
	return nil
}

// ready announces that the node has gone through its stages.
func (n *Node) ready() {
	n.setStatus("ready")
	n.lab.tell(Event{Node: n.Name(), Stage: "ready"})
}

// runStage waits for one stage; the death of the machine ends it at once.
func (n *Node) runStage(ctx context.Context, l *life, s stage) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("not reached within %s", s.limit))
	defer cancel()
	ctx, stop := l.bind(ctx)
	defer stop()
	err := s.wait(ctx, l)
	if err != nil && l.ended() && !l.isExpected() {
		n.kill(l, "its domain has stopped") // unless a better cause is known
	}
	if dead := l.err(); dead != nil && err != nil {
		return dead
	}
	return err
}

// bind returns a context that ends when the life does.
func (l *life) bind(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-l.dead:
			cancel(l.err())
		case <-l.over:
			cancel(errors.New("the domain has stopped"))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// awaitConsole waits for the first output. A guest that boots silently is not refused for that: sshd decides.
func (n *Node) awaitConsole(ctx context.Context, _ *life) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		printed, more := n.console.printed()
		if printed {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				n.lab.tell(Event{Node: n.Name(), Stage: "kernel", Note: "silent console; waiting for sshd all the same"})
				return nil
			}
			return context.Cause(ctx)
		}
	}
}

// awaitSSH waits until an SSH server answers, whoever it lets in.
func (n *Node) awaitSSH(ctx context.Context, l *life) error {
	return poll.Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		err := l.guest.Connect(ctx)
		var stage *guest.StageError
		if errors.As(err, &stage) && stage.Stage == "auth" {
			return nil
		}
		if failed := n.console.failedSSH(); err != nil && failed.line != "" && time.Since(failed.at) > n.lab.limits.Sshd {
			return poll.Stop(fmt.Errorf("its SSH server failed to start, and nothing answers %s later: %s: %w", n.lab.limits.Sshd, failed.line, err))
		}
		return err
	})
}

func (n *Node) awaitLogin(ctx context.Context, l *life) error {
	return poll.Until(ctx, 200*time.Millisecond, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return l.guest.Connect(ctx)
	})
}

// initScript waits in the guest for cloud-init's last word: no round trip per look, no cloud-init process per look
// (a second and more under emulation). A cloud-init unit that failed will never write result.json.
const initScript = `
n=0
until [ -e /run/cloud-init/result.json ]; do
  n=$((n+1))
  if [ -e /run/cloud-init/disabled ]; then echo "cloud-init is disabled in this image"; exit 3; fi
  if [ $((n % 25)) -eq 0 ]; then
    for unit in cloud-init-local cloud-init cloud-init-main cloud-init-network cloud-config cloud-final; do
      if systemctl -q is-failed $unit.service; then echo "$unit.service failed"; exit 3; fi
    done
  fi
  sleep 0.2
done
cat /var/lib/cloud/data/instance-id; echo; cat /run/cloud-init/result.json; echo; cat /run/cloud-init/status.json`

// awaitInit waits until cloud-init is done with this lab's seed, without an error.
func (n *Node) awaitInit(ctx context.Context, l *life) error {
	res, err := l.guest.Run(ctx, guest.Cmd{Shell: initScript})
	if err != nil {
		return err
	}
	if res.ExitCode() != 0 {
		return fmt.Errorf("%s%s", strings.TrimSpace(res.Stdout()), n.initLog(ctx, l))
	}
	if err := checkInit(res.Stdout(), n.instanceID()); err != nil {
		return fmt.Errorf("%w%s", err, n.initLog(ctx, l))
	}
	return nil
}

// initLog is the end of what cloud-init's programs printed, for the message.
func (n *Node) initLog(ctx context.Context, l *life) string {
	res, err := l.guest.Run(ctx, guest.Cmd{Argv: []string{"tail", "-n", "15", "/var/log/cloud-init-output.log"}, Timeout: 30 * time.Second})
	if err != nil || res.ExitCode() != 0 {
		return ""
	}
	return "\nlast lines of cloud-init-output.log:\n" + indent(strings.Split(strings.TrimSpace(res.Stdout()), "\n"))
}

// awaitUnits waits until systemd has started everything, and refuses failed units.
func (n *Node) awaitUnits(ctx context.Context, l *life) error {
	script := `state=$(systemctl is-system-running --wait); echo "$state"; [ "$state" = running ] || systemctl --failed --no-legend --plain`
	res, err := l.guest.Run(ctx, guest.Cmd{Shell: script})
	if err != nil {
		return err
	}
	state, failed, _ := strings.Cut(strings.TrimSpace(res.Stdout()), "\n")
	if state == "running" || n.lab.cfg.AllowFailedUnits && state == "degraded" {
		return nil
	}
	var units []string
	for line := range strings.Lines(failed) {
		if fields := strings.Fields(line); len(fields) > 0 {
			units = append(units, fields[0])
		}
	}
	return fmt.Errorf("systemd is %q; failed units: %s", state, strings.Join(units, ", "))
}
