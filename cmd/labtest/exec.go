package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ionlab/internal/guest"
	"ionlab/internal/lab"
)

// statusInterrupted is what a shell shows for a program that SIGINT ended.
const statusInterrupted = 130

func (a *app) execCmd() *cobra.Command {
	var cmd guest.Cmd
	var env []string
	c := &cobra.Command{
		Use: "exec LAB NODE [flags] -- PROGRAM [ARGUMENT...]", Short: "Run a program in a node",
		Long: `exec runs a program in a node, as root unless --user or --session says otherwise. The arguments reach it byte for byte,
without a shell between. Standard input, output and error are passed through. ^C kills what the program started.

The exit status is the program's own, 128 plus the signal that killed it, 130 after ^C, 255 when the node could not be
reached or the connection was lost, 2 when there is no such lab or node.`,
		Example: `  labtest exec . alice -- uname -a
  labtest exec . alice --dir /srv --env LANG=C.UTF-8 -- sh -c 'echo "$PWD" && ls'
  labtest exec . desk --session -- busctl --user list
  tar c src | labtest exec . alice -- tar x -C /usr/local`,
		Args: wantsMore("LAB", "NODE", "PROGRAM"), ValidArgsFunction: a.completeNode,
		RunE: verb(func(ctx context.Context, args []string) (err error) {
			if cmd.Env, err = parseEnv(env); err != nil {
				return usage(err)
			}
			found, err := a.findNode(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			cmd.Argv = args[2:]
			return a.exec(ctx, found, args[1], cmd)
		}),
	}
	flags := c.Flags()
	flags.StringVarP(&cmd.User, "user", "u", "", "run as this user")
	flags.BoolVar(&cmd.Session, "session", false, "run in the login session of the user (D-Bus, Wayland)")
	flags.StringArrayVarP(&env, "env", "e", nil, "set a variable, KEY=VALUE; may be repeated")
	flags.StringVarP(&cmd.Dir, "dir", "C", "", "working directory")
	return c
}

func parseEnv(entries []string) (map[string]string, error) {
	env := map[string]string{}
	for _, entry := range entries {
		key, value, ok := strings.Cut(entry, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--env %q: write KEY=VALUE", entry)
		}
		env[key] = value
	}
	return env, nil
}

func (a *app) exec(ctx context.Context, found lab.Found, node string, cmd guest.Cmd) error {
	client, err := found.Guest(node)
	if err != nil {
		return &exitError{status: statusUnreachable, err: err}
	}
	if cmd.Session && cmd.User == "" {
		if cmd.User, err = ordinaryUser(ctx, client); err != nil {
			return execError(ctx, err)
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.MaxOutput = 1 // it is passed on; nothing of it is needed here
	res, err := client.Run(ctx, cmd)
	// Reading of standard input goes on until the process ends; the client is not to wait for it.
	client.Disconnect()
	switch {
	case err != nil:
		return execError(ctx, a.explain(ctx, found, node, err))
	case res.ExitCode() != 0:
		return &exitError{status: res.ExitCode()}
	}
	return nil
}

// explain adds what the lab's libvirt says of a node that could not be reached, where that is the reason.
func (a *app) explain(ctx context.Context, found lab.Found, node string, err error) error {
	s, lookErr := a.look(ctx, found)
	if lookErr != nil {
		return err
	}
	for _, one := range s.nodes {
		if one.Name == node && one.State != "running" {
			return fmt.Errorf("%w\nlibvirt says of node %q: %s", err, node, one.State)
		}
	}
	return err
}

// execError tells a program that was not started from a node that was not reached.
func execError(ctx context.Context, err error) error {
	var launch *guest.LaunchError
	switch {
	case ctx.Err() != nil:
		return &exitError{status: statusInterrupted, err: err}
	case errors.As(err, &launch) || errors.Is(err, errNoUser):
		return &exitError{status: statusFailed, err: err}
	}
	return &exitError{status: statusUnreachable, err: err}
}

var errNoUser = errors.New("it has no ordinary user; name one by --user")

// ordinaryUser is the user whose session is meant where none is named: the first one of the node that is a person's.
// Source: UID_MIN and UID_MAX of login.defs(5).
func ordinaryUser(ctx context.Context, client *guest.Client) (string, error) {
	res, err := client.Run(ctx, guest.Cmd{Argv: []string{
		"awk", "-F:", "$3 >= 1000 && $3 < 60000 { print $1; exit }", "/etc/passwd",
	}})
	if err != nil {
		return "", fmt.Errorf("find the user of the node: %w", err)
	}
	name := strings.TrimSpace(res.Stdout())
	if name == "" {
		return "", fmt.Errorf("find the user of the node: %w", errNoUser)
	}
	return name, nil
}
