package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"ionlab/internal/artifact"
	"ionlab/internal/guest"
)

// Sizes of artifacts in bytes; what is longer keeps its beginning and its end.
const (
	smallArtifact = 1 << 20
	largeArtifact = 8 << 20
	ringArtifact  = 16 << 20 // far more than the fabric remembers: a pcapng file that lacks its middle cannot be read
)

// Collect takes evidence of every node into dir: console, domain, and as far as the guest answers its journal since
// that time, kernel ring, failed units and cloud-init's logs; and of the networks their state and last frames. It goes on when a part fails; the error names the parts.
func (l *Lab) Collect(ctx context.Context, dir *artifact.Dir, since time.Time) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []string
	)
	note := func(node, what string, err error) {
		if err == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, fmt.Sprintf("%s of %s: %v", what, node, err))
	}
	note("the lab", "summary", dir.Save(ctx, "lab.json", smallArtifact, l.summary))
	for _, node := range l.nodes {
		wg.Go(func() { node.collect(ctx, dir, since, note) })
	}
	wg.Go(func() { l.collectNetworks(ctx, dir, note) })
	wg.Wait()
	if len(errs) > 0 {
		return fmt.Errorf("evidence is incomplete: %s", strings.Join(errs, "; "))
	}
	return nil
}

// collectNetworks keeps the state of all links and routers, and the last frames of each network.
func (l *Lab) collectNetworks(ctx context.Context, dir *artifact.Dir, note noteFunc) {
	if _, err := l.wired(); err != nil {
		return // there are none
	}
	note("the lab", "links.txt", dir.Save(ctx, "links.txt", largeArtifact, func(_ context.Context, w io.Writer) error {
		state, err := l.NetState()
		if err != nil {
			return err
		}
		return state.Write(w)
	}))
	for _, network := range l.networks {
		save := func(_ context.Context, w io.Writer) error { return network.Recent(w) }
		note("network "+network.Name(), "the last frames", dir.Save(ctx, "networks/"+network.Name()+".pcapng", ringArtifact, save))
	}
}

type noteFunc func(node, what string, err error)

func (n *Node) collect(ctx context.Context, dir *artifact.Dir, since time.Time, note noteFunc) {
	if n.console == nil {
		return // it was never placed on the host
	}
	save := func(what string, limit int64, src func(context.Context, io.Writer) error) {
		note(n.Name(), what, dir.Save(ctx, n.Name()+"/"+what, limit, src))
	}
	save("console.log", largeArtifact, copyFile(n.files.log))
	n.mu.Lock()
	l, xml := n.life, n.xml
	n.mu.Unlock()
	if xml != "" {
		save("domain.xml", smallArtifact, text(xml))
	}
	if l == nil || l.err() != nil {
		return
	}
	if machine := l.domain(); machine != nil {
		if seen, err := machine.Inspect(ctx); err == nil {
			save("domain-live.xml", smallArtifact, text(seen.XML))
			save("qemu-command.txt", smallArtifact, text(seen.Command+"\n"))
		}
	}
	limit := n.lab.limits.Evidence // a guest that hangs must not hang the report
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no evidence within %s", limit))
	defer cancel()
	if err := l.guest.Connect(ctx); err != nil {
		note(n.Name(), "everything inside", err)
		return
	}
	for what, argv := range guestEvidence(since) {
		save(what, largeArtifact, func(ctx context.Context, w io.Writer) error {
			_, err := l.guest.Run(ctx, guest.Cmd{Argv: argv, Stdout: w, Stderr: w})
			return err
		})
	}
}

// guestEvidence are the commands whose output is kept, by file name.
func guestEvidence(since time.Time) map[string][]string {
	journal := []string{"journalctl", "--no-pager", "-o", "short-precise"}
	if !since.IsZero() {
		journal = append(journal, fmt.Sprintf("--since=@%d", since.Add(-time.Second).Unix()))
	} else {
		journal = append(journal, "-b")
	}
	return map[string][]string{
		"journal.log":           journal,
		"kernel.log":            {"dmesg"},
		"units.txt":             {"systemctl", "list-units", "--all", "--no-pager", "--plain"},
		"failed-units.txt":      {"systemctl", "--failed", "--no-pager"},
		"cloud-init.log":        {"cat", "/var/log/cloud-init.log"},
		"cloud-init-output.log": {"cat", "/var/log/cloud-init-output.log"},
		"network.txt":           {"sh", "-c", "ip addr; ip route; ip neigh; ss -tupan 2>/dev/null || true"},
	}
}

func text(s string) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func copyFile(path string) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		file, err := os.Open(path)
		if os.IsNotExist(err) {
			_, err = io.WriteString(w, "(nothing was printed)\n")
			return err
		}
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		_, err = io.Copy(w, file)
		return err
	}
}

// summary writes what the lab is and where its nodes stand.
func (l *Lab) summary(_ context.Context, w io.Writer) error {
	type nodeSummary struct {
		Name, Status, Image string
		Stages              []string
	}
	out := struct {
		ID, Topology, File, Accelerator, Beginning, Took string
		Nodes                                            []nodeSummary
	}{Beginning: l.Beginning(), ID: l.ID(), Topology: l.topo.Metadata.Name, File: l.topo.File, Accelerator: l.Accelerator(), Took: l.Took().String()}
	for _, node := range l.nodes {
		status, _ := node.Status()
		s := nodeSummary{Name: node.Name(), Status: status, Image: node.spec.Image}
		for _, stage := range node.Stages() {
			s.Stages = append(s.Stages, fmt.Sprintf("%s %s", stage.Stage, stage.Took.Round(time.Millisecond)))
		}
		out.Nodes = append(out.Nodes, s)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// Secrets are the texts that must not be in any artifact: private keys and passwords.
func (l *Lab) Secrets() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	secrets := []string{l.key.Private}
	for _, node := range l.nodes {
		secrets = append(secrets, node.hostKey.Private)
		// A password that is the user's name, as in the seed's own topology, is no secret and would mask the name.
		if password := node.spec.CloudInit.Password; password != "" && password != node.spec.CloudInit.User {
			secrets = append(secrets, password)
		}
	}
	return secrets
}
