package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ionlab/internal/doctor"
	"ionlab/internal/host"
	"ionlab/internal/image"
	"ionlab/internal/lab"
	"ionlab/internal/virt"
)

// streams are where a verb reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// app is what the verbs share.
type app struct {
	streams
	name    string // as it was called, for commands that a person may copy
	log     *slog.Logger
	verbose bool
	connect string

	// What a test puts something else in the place of.
	domains func(ctx context.Context, dir string) ([]virt.DomainInfo, error)
	examine func(ctx context.Context, cfg doctor.Config) doctor.Report
	machine func(dirs lab.Dirs) (lab.Host, error)
	replace func(program string, argv, env []string) error // the process, as execve(2) does
	store   func(dirs lab.Dirs, progress func(image.Event)) (*image.Store, error)
	now     func() time.Time
}

// newApp is the app on this host.
func newApp(name string, s streams) *app {
	a := &app{
		streams: s, name: name, log: slog.New(slog.DiscardHandler),
		domains: virt.Domains, examine: doctor.Run, replace: syscall.Exec, now: time.Now,
	}
	a.machine = func(dirs lab.Dirs) (lab.Host, error) {
		h, err := host.New(dirs, a.log)
		if err != nil {
			return nil, usage(err) // an environment that asks for what is not supported
		}
		return h, nil
	}
	a.store = func(dirs lab.Dirs, progress func(image.Event)) (*image.Store, error) {
		h, err := host.New(dirs, a.log)
		if err != nil {
			return nil, usage(err)
		}
		return h.Store(progress)
	}
	return a
}

// run is the whole program: argv with the program's name first, to the exit status.
func run(ctx context.Context, argv []string, s streams) int {
	return newApp(argv[0], s).execute(ctx, argv[1:])
}

// execute runs one verb. The first signal ends its ctx; a second one ends the process as if nobody handled signals.
func (a *app) execute(ctx context.Context, args []string) int {
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer restore()
	defer context.AfterFunc(ctx, restore)()
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(ctx, cmd, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "labtest",
		Short: "Labs of virtual machines from a topology file",
		Long: `labtest turns a topology, a YAML file of machines and the networks between them, into a running lab on libvirt,
without root and without set-up by hand. Specs do the same through the Go package ionlab/labtest.

LAB is a lab's id, the beginning of one, the name of its topology where only one such lab runs, or a dot where only
one lab runs at all. "labtest list" shows them.

Exit status: 0 ok, 1 the operation failed, 2 usage or invalid input.`,
		Example: `  labtest doctor
  labtest up topologies/quickstart.yaml
  labtest exec . alice -- ping -c1 bob
  labtest ssh . alice`,
		SilenceErrors: true, SilenceUsage: true,
		SuggestionsMinimumDistance: 2,
		PersistentPreRunE:          func(*cobra.Command, []string) error { return a.begin() },
		Args:                       cobra.ArbitraryArgs, // needVerb answers what is no verb
		RunE:                       a.needVerb,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	flags := root.PersistentFlags()
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log every step to standard error")
	flags.StringVar(&a.connect, "connect", "", "URI of a libvirt of your own (not supported yet)")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		a.doctorCmd(), a.validateCmd(), a.imageCmd(), a.snapshotCmd(), a.prepareCmd(), a.upCmd(), a.listCmd(), a.statusCmd(), a.execCmd(), a.sshCmd(),
		a.cpCmd(), a.consoleCmd(), a.downCmd(), a.gcCmd(), a.connectCmd(), a.versionCmd(),
	)
	return root
}

// begin applies the flags that all verbs have.
func (a *app) begin() error {
	if a.verbose {
		a.log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if a.connect != "" {
		return usage(fmt.Errorf("--connect %s: a libvirt of your own is not supported yet; "+
			"leave --connect out, and labtest starts a private one", a.connect))
	}
	return nil
}

// here is this machine, with the folders of this user.
func (a *app) here() (lab.Dirs, lab.Host, error) {
	dirs, err := a.dirs()
	if err != nil {
		return dirs, nil, err
	}
	machine, err := a.machine(dirs)
	return dirs, machine, err
}

// dirs are the folders of this user.
func (a *app) dirs() (lab.Dirs, error) {
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return lab.Dirs{}, usage(err)
	}
	return dirs, nil
}
