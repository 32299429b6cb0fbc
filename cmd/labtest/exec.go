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
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.MaxOutput = 1 // it is passed on; nothing of it is needed here
	res, err := client.Run(ctx, cmd)
	// Reading of standard input goes on until the process ends; the client is not to wait for it.
	client.Disconnect()
	var launch *guest.LaunchError
	switch {
	case err == nil && res.ExitCode() == 0:
		return nil
	case err == nil:
		return &exitError{status: res.ExitCode()}
	case ctx.Err() != nil:
		return &exitError{status: statusInterrupted, err: err}
	case errors.As(err, &launch):
		return &exitError{status: statusFailed, err: err}
	}
	return &exitError{status: statusUnreachable, err: err}
}
