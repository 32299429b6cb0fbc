package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const (
	// killGrace is how long an operation that is cancelled waits for its processes to be gone.
	killGrace = 1800 * time.Millisecond
	// killPatience is how long the killing goes on after that, in the background, for a guest that is slow.
	killPatience = 30 * time.Second
)

// abort kills the program with all its descendants, gives the channel up and publishes cause as the outcome.
func (p *Process) abort(ctx context.Context, cause error) {
	var kill error
	if !p.client.isDead() {
		kill = p.killWithin(ctx, p.client.cfg.killGrace)
	} else {
		p.closeChannel()
	}
	p.fail(cause, kill)
}

// killWithin kills, gives the channel up when that is done, and waits for it, but no longer than grace.
func (p *Process) killWithin(ctx context.Context, grace time.Duration) error {
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	confirmed := make(chan error, 1)
	p.client.wg.Go(func() {
		ctx, cancel := context.WithTimeoutCause(ctx, killPatience, fmt.Errorf("no answer within %s", killPatience))
		defer cancel()
		confirmed <- p.killAll(ctx)
		p.closeChannel()
	})
	select {
	case err := <-confirmed:
		return err
	case <-p.client.cfg.Dead:
		return nil
	case <-deadline.C:
		return fmt.Errorf("the guest did not confirm within %s that it is killed", grace)
	}
}

// killAll kills everything that belongs to the program and returns nil when nothing of it is left. sshd could kill the
// program's process group sooner than a shell gets going in a busy guest; but it must not: descendants that have left the
// group would be orphans then, which nobody can tell from other processes any more.
func (p *Process) killAll(ctx context.Context) error {
	pid := p.PID()
	if pid == "" {
		// The launcher has not spoken yet, so there is only the shell, which sshd knows.
		p.askSSHD(ssh.SIGKILL)
		select {
		case <-p.closed:
			return nil
		case e := <-p.status:
			p.putStatus(e)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := p.client.killTree(ctx, pid, p.client.needsSudo(p.cmd))
	if err != nil {
		p.askSSHD(ssh.SIGKILL)
	}
	return err
}

// askSSHD sends a signal to the program's process group through its own channel (RFC 4254, 6.9). It does not wait.
func (p *Process) askSSHD(sig ssh.Signal) {
	p.client.wg.Go(func() {
		_, _ = p.ch.SendRequest("signal", false, ssh.Marshal(struct{ Signal string }{string(sig)}))
	})
}

// findTree is a shell script that leaves in $tree the ids of all living processes that belong to $p: its session, its
// process group and its descendants; and in $alive those to kill, $p before all others: a shell whose child dies first
// goes on, and may end by itself. Two passes, since a child may have a lower id than its parent, or sort before it.
// proc(5) has the format of the stat file; the name in it is the only field that may hold spaces and brackets.
const findTree = `p=%s
find_tree() {
  for pass in 1 2; do
    alive=
    for f in /proc/[0-9]*/stat; do
      { read -r line <"$f"; } 2>/dev/null || continue
      id=${line%%%% *}
      set -- ${line##*) }
      case " $tree " in *" $id "*) ;; *)
        if [ "$id" = "$p" ] || [ "$3" = "$p" ] || [ "$4" = "$p" ]; then tree="$tree $id"
        else case " $tree " in *" $2 "*) tree="$tree $id" ;; *) continue ;; esac
        fi ;;
      esac
      case $1 in Z|X) continue ;; esac
      if [ "$id" = "$p" ]; then alive="$id $alive"; else alive="$alive $id"; fi
    done
  done
}
tree=
`

// killLoop kills until nothing is left, since a process may fork between being found and being killed.
const killLoop = findTree + `
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  find_tree
  [ -z "$alive" ] && exit 0
  kill -KILL $alive 2>/dev/null
  [ "$try" -gt 2 ] && sleep 0.05
done
echo "still alive:$alive" >&2
exit 1
`

// killTree kills everything that belongs to the process pid, over a session of its own.
func (c *Client) killTree(ctx context.Context, pid string, asRoot bool) error {
	return c.runScript(ctx, fmt.Sprintf(killLoop, pid), asRoot)
}

// runScript runs a helper script over a session of its own, beyond the limit of connections if need be.
func (c *Client) runScript(ctx context.Context, script string, asRoot bool) error {
	cmd := Cmd{Argv: []string{"/bin/sh", "-c", script}}
	if asRoot {
		cmd.User = "root"
	}
	p, err := c.launchOn(ctx, cmd, nil, c.cfg.MaxConnections+2)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.closeChannel()
		return context.Cause(ctx)
	}
	res, err := p.outcome()
	if err != nil {
		return err
	}
	if res.code != 0 {
		return errors.New(strings.TrimSpace(string(res.stderr)))
	}
	return nil
}

// Signal sends a signal to the program's process group. A program that has already ended is no error. Signals that SSH
// has no name for (SIGSTOP, SIGCONT, ...) go through a shell in the guest.
func (p *Process) Signal(ctx context.Context, sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %s on node %q: %v is not a signal that a guest knows", p.cmd, p.client.cfg.Name, sig)
	}
	ctx, end, err := p.client.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if p.ExitCode() >= 0 {
		return nil
	}
	if err := p.signal(ctx, number); err != nil && p.ExitCode() < 0 {
		return fmt.Errorf("send %s to %s on node %q: %w", unix.SignalName(number), p.cmd, p.client.cfg.Name, err)
	}
	return nil
}

// signal tries sshd first, which costs nothing in the guest, and then a shell.
func (p *Process) signal(ctx context.Context, sig syscall.Signal) error {
	if name := sshSignal(sig); name != "" && !p.client.needsSudo(p.cmd) {
		sent := make(chan bool, 1)
		p.client.wg.Go(func() {
			ok, err := p.ch.SendRequest("signal", true, ssh.Marshal(struct{ Signal string }{name}))
			sent <- ok && err == nil
		})
		select {
		case ok := <-sent:
			if ok {
				return nil
			}
		case <-p.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return p.client.runScript(ctx, fmt.Sprintf("kill -%d -%s", int(sig), p.PID()), p.client.needsSudo(p.cmd))
}

// Kill sends SIGKILL to the program and everything that descends from it or shares its session, and returns when none
// of it is left. The process then ends with exit code 137. A program that has already ended is no error.
func (p *Process) Kill(ctx context.Context) error {
	ctx, end, err := p.client.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if p.ExitCode() >= 0 {
		return nil
	}
	if err := p.killAll(ctx); err != nil {
		return fmt.Errorf("kill %s on node %q: %w", p.cmd, p.client.cfg.Name, err)
	}
	return nil
}
