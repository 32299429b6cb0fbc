package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ionlab/internal/lab"
	"ionlab/internal/topology"
)

// deadLook is how often up looks for nodes that died. Nothing waits for the answer but a person.
const deadLook = 500 * time.Millisecond

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
	dirs, machine, err := a.here()
	if err != nil {
		return err
	}
	s := &session{app: a, progress: a.newProgress(ctx), artifacts: artifacts}
	defer func() { _ = s.progress.Close() }()
	s.lab, err = lab.New(lab.Config{
		Topology: topo, Dirs: dirs, Log: a.log, Host: machine, Owner: owner("up"), Progress: s.event,
		Capture: s.keepCapture,
	})
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// owner says in words who runs the lab, by which verb.
func owner(verb string) string {
	name := fmt.Sprintf("uid %d", os.Geteuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return fmt.Sprintf("labtest %s of %s (pid %d)", verb, name, os.Getpid())
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
