package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ionlab/internal/artifact"
	"ionlab/internal/lab"
	"ionlab/internal/topology"
)

// deadLook is how often up looks for nodes that died. Nothing waits for the answer but a person.
const deadLook = 500 * time.Millisecond

// evidenceLimit bounds the taking of evidence of a start that failed.
const evidenceLimit = 2 * time.Minute

func (a *app) upCmd() *cobra.Command {
	var artifacts string
	cmd := &cobra.Command{
		Use: "up FILE", Short: "Start a lab and keep it until ^C",
		Long: `up starts the lab that a topology file describes, prints how to reach its nodes, and stays until ^C, SIGTERM or
"labtest down", which end the lab and leave nothing of it. A second ^C kills everything at once; what then stays on
disk "labtest gc" removes. What is missing, such as an image, is made first.

A node that dies is told with the last lines of its console; the others go on.

Exit status: 0 after an end that was asked for, 1 when the lab did not come up, 2 when the topology is wrong.`,
		Example: "  labtest up topologies/quickstart.yaml\n  labtest up --artifacts out/artifacts topologies/portal.yaml",
		Args:    wants("FILE"), ValidArgsFunction: completeTopology,
		RunE: verb(func(ctx context.Context, args []string) error { return a.up(ctx, args[0], artifacts) }),
	}
	cmd.Flags().StringVar(&artifacts, "artifacts", os.Getenv("LABTEST_ARTIFACTS"),
		"folder for evidence when the lab does not come up or a node dies (LABTEST_ARTIFACTS)")
	return cmd
}

// session is one run of up.
type session struct {
	*app
	lab       *lab.Lab
	progress  *progress
	artifacts string

	mu    sync.Mutex
	ports []string
	accel string
}

func (a *app) up(ctx context.Context, file, artifacts string) error {
	topo, err := topology.Load(file)
	if err != nil {
		return usage(err)
	}
	dirs, err := a.dirs()
	if err != nil {
		return err
	}
	machine, err := a.machine(dirs)
	if err != nil {
		return err
	}
	s := &session{app: a, progress: a.newProgress(ctx), artifacts: artifacts}
	defer func() { _ = s.progress.Close() }()
	s.lab, err = lab.New(lab.Config{
		Topology: topo, Dirs: dirs, Log: a.log, Host: machine, Owner: owner(), Progress: s.event,
	})
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// owner says in words who runs the lab.
func owner() string {
	name := fmt.Sprintf("uid %d", os.Geteuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return fmt.Sprintf("labtest up of %s (pid %d)", name, os.Getpid())
}

// run is the lab's life.
func (s *session) run(ctx context.Context) error {
	if err := s.lab.Start(ctx); err != nil {
		_ = s.progress.Close()
		if ctx.Err() != nil { // where the start stood is of no interest then
			err = fmt.Errorf("start lab %q: called off before it was up: %w", s.lab.Topology().Metadata.Name, context.Cause(ctx))
		} else {
			s.keepEvidence(ctx, "start")
		}
		return errors.Join(err, s.lab.Close())
	}
	_ = s.progress.Close()
	if err := s.describe(); err != nil {
		return errors.Join(err, s.lab.Close())
	}
	s.watch(ctx)
	fmt.Fprintf(s.err, "ending lab %s (%v); ^C again kills it at once\n", s.lab.ID(), context.Cause(ctx))
	id := s.lab.ID()
	if err := s.lab.Close(); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "lab %s is gone\n", id)
	return nil
}

// event shows a step of the lab.
func (s *session) event(e lab.Event) {
	who := e.Node
	if who == "" {
		who = "lab"
	}
	text := strings.TrimSpace(e.Stage + "  " + e.Note)
	switch e.Stage {
	case "ready", "lab ready":
		s.progress.tell(who, text)
		return
	case "port":
		s.keep(func() { s.ports = append(s.ports, who+": "+e.Note) })
		s.progress.tell(who, text)
		return
	case "accelerator":
		s.keep(func() { s.accel = e.Note })
		s.progress.tell(who, text)
		return
	}
	s.progress.update(stage{who: who, what: e.Stage, note: e.Note, done: e.Done, total: e.Total})
}

func (s *session) keep(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// describe prints how to reach the nodes.
func (s *session) describe() error {
	id, nodes := s.lab.ID(), s.lab.Nodes()
	var out strings.Builder
	fmt.Fprintf(&out, "lab %s (%s) is up after %s\n", id, s.lab.Topology().Metadata.Name, elapsed(s.lab.Took()))
	s.keep(func() { fmt.Fprintf(&out, "%s\n\n", s.accel) })
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tADDRESSES")
	for _, node := range nodes {
		var links []string
		for _, link := range node.Spec().Links {
			links = append(links, link.Network+" "+link.Addr.Addr().String())
		}
		fmt.Fprintf(table, "%s\t%s\n", node.Name(), strings.Join(links, ", "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	s.keep(func() {
		for _, port := range s.ports {
			fmt.Fprintf(&out, "%s\n", port)
		}
	})
	first, me := nodes[0].Name(), shellWord(s.name)
	fmt.Fprintf(&out, "\nssh_config: %s\n\n", s.lab.SSHConfig())
	for _, line := range []string{
		fmt.Sprintf("%s ssh %s %s", me, id, first),
		fmt.Sprintf("%s exec %s %s -- uname -a", me, id, first),
		fmt.Sprintf("%s cp FILE %s:%s:/tmp/", me, id, first),
		fmt.Sprintf("%s console %s %s", me, id, first),
		fmt.Sprintf("ssh -F %s %s", shellWord(s.lab.SSHConfig()), first),
		fmt.Sprintf("%s down %s", me, id),
	} {
		fmt.Fprintf(&out, "  %s\n", line)
	}
	fmt.Fprintf(&out, "\n^C ends the lab.\n")
	_, err := fmt.Fprint(s.out, out.String())
	return err
}

// watch tells of nodes that die, until the end is asked for.
func (s *session) watch(ctx context.Context) {
	ticker := time.NewTicker(deadLook)
	defer ticker.Stop()
	told := map[string]bool{}
	for {
		for _, node := range s.lab.Nodes() {
			var dead *lab.DeadError
			if _, err := node.Guest(); !errors.As(err, &dead) || told[node.Name()] {
				continue
			}
			told[node.Name()] = true
			fmt.Fprintf(s.err, "%s %v\n", s.now().Format("15:04:05"), dead)
			s.keepEvidence(ctx, "death of "+node.Name())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// keepEvidence writes what is known of the lab where the caller wants it. That it could not be taken is told only: what
// went wrong before counts more.
func (s *session) keepEvidence(ctx context.Context, what string) {
	if s.artifacts == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceLimit)
	defer cancel()
	dir, err := artifact.Create(s.artifacts, s.lab.Topology().Metadata.Name, what)
	if err == nil {
		err = s.lab.Collect(ctx, dir, time.Time{})
		path, e := filepath.Abs(dir.Path())
		err = errors.Join(err, e)
		fmt.Fprintf(s.err, "artifacts: %s\n", path)
	}
	if err != nil {
		fmt.Fprintf(s.err, "labtest: %v\n", err)
	}
}
