package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) sshCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ssh LAB NODE [ARGUMENT...]", Short: "Log in to a node with the system's ssh",
		Long: `ssh becomes the system's ssh with the lab's ssh_config. The arguments after NODE are ssh's: options, then a command,
which ssh gives to a shell in the node ("labtest exec" does without one). You log in as root; "-l USER" chooses another
user, who needs a key of his own in the topology.

The exit status is ssh's: the command's own, or 255.`,
		Example: "  labtest ssh . alice\n  labtest ssh . alice -L 8080:localhost:80\n  labtest ssh . alice journalctl -f",
		Args:    wantsMore("LAB", "NODE"), ValidArgsFunction: a.completeNode,
		RunE: verb(func(ctx context.Context, args []string) error { return a.ssh(ctx, args[0], args[1], args[2:]) }),
	}
	cmd.Flags().SetInterspersed(false) // what follows NODE is ssh's
	return cmd
}

func (a *app) ssh(ctx context.Context, word, node string, args []string) error {
	found, err := a.findNode(ctx, word, node)
	if err != nil {
		return err
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return &exitError{status: statusUnreachable, err: fmt.Errorf("find ssh: %w (package openssh-client); `labtest exec` needs none", err)}
	}
	argv := slices.Concat([]string{"ssh", "-F", found.SSHConfig}, sshOrder(node, args))
	if err := a.replace(program, argv, os.Environ()); err != nil {
		return &exitError{status: statusUnreachable, err: fmt.Errorf("become %s: %w", program, errors.Unwrap(err))}
	}
	return nil
}

// sshOrder puts the node's name before the arguments. ssh takes options after the destination, too, and the first word
// that is none begins the command.
func sshOrder(node string, args []string) []string {
	return append([]string{node}, args...)
}
