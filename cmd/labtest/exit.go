package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ionlab/internal/topology"
)

// The exit statuses of labtest's own.
const (
	statusFailed      = 1
	statusUsage       = 2
	statusUnreachable = 255 // of exec and ssh, as of ssh(1)
)

// exitError is an error with the exit status that it leads to.
type exitError struct {
	status int
	err    error // nil where the status says everything, as that of a remote command does
}

// Error is the cause.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.err }

// usage marks err as a mistake of the caller.
func usage(err error) error { return &exitError{status: statusUsage, err: err} }

// verb adapts what a verb does to cobra. What it returns is no usage error unless it says so; what cobra itself
// returns is one.
func verb(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd.Context(), args)
		var known *exitError
		var problems topology.Problems
		switch {
		case err == nil || errors.As(err, &known):
			return err
		case errors.As(err, &problems):
			return usage(err)
		}
		return &exitError{status: statusFailed, err: err}
	}
}

// report prints the error and returns the exit status.
func (a *app) report(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	var known *exitError
	ours := errors.As(err, &known)
	if !ours {
		known = &exitError{status: statusUsage, err: err}
	}
	if known.err == nil {
		return known.status
	}
	text := strings.TrimSpace(err.Error())
	if cause := context.Cause(ctx); cause != nil && !strings.Contains(text, cause.Error()) {
		text = fmt.Sprintf("%s (%v)", text, cause)
	}
	fmt.Fprintf(a.err, "labtest: %s\n", text)
	if !ours {
		fmt.Fprintf(a.err, "%q shows how it is used\n", cmd.CommandPath()+" --help")
	}
	return known.status
}

// needVerb answers a command that only has commands below it.
func (a *app) needVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(a.err, cmd.UsageString()+"\n")
		return errors.New("a command is missing")
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	var known []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	return errors.New(text + didYouMean(args[0], known))
}

// flagError adds the flag that was meant to cobra's complaint about an unknown one.
func flagError(cmd *cobra.Command, err error) error {
	_, typed, found := strings.Cut(err.Error(), "unknown flag: ")
	hint := ""
	if found {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
		hint = didYouMean(typed, known)
	}
	if hint == "" && cmd.Name() == "exec" {
		hint = "; put -- before the program, and its flags are its own"
	}
	return fmt.Errorf("%w%s", err, hint)
}

// wants checks the arguments of a verb by their names, as its usage has them.
func wants(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s missing", strings.Join(names[len(args):], " and "))
		}
		if len(args) > len(names) {
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// wantsMore is wants for a verb that takes more after the named arguments.
func wantsMore(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		return wants(names...)(cmd, args[:min(len(args), len(names))])
	}
}

// didYouMean continues a complaint about an unknown word with the known ones that are like it, by the measure that
// cobra has for its commands.
func didYouMean(typed string, known []string) string {
	dictionary := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, word := range known {
		dictionary.AddCommand(&cobra.Command{Use: word, Run: func(*cobra.Command, []string) {}})
	}
	meant := dictionary.SuggestionsFor(typed)
	if len(meant) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(meant, " or ") + "?"
}
