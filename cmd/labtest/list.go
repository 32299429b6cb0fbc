package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ionlab/internal/lab"
	"ionlab/internal/virt"
)

// labJSON is a lab in the output of `labtest list --json`, which is an array of them, and of `labtest status --json`.
// Fields may be added, never renamed or removed.
type labJSON struct {
	ID        string        `json:"id"`
	Topology  string        `json:"topology"`   // name of the topology; empty while the lab has no domain
	Owner     string        `json:"owner"`      // in words; empty while the lab has no domain
	SSHConfig string        `json:"ssh_config"` // path, for ssh -F
	Libvirt   string        `json:"libvirt"`    // URI, for virsh -c
	Nodes     []nodeJSON    `json:"nodes"`
	Network   *lab.NetState `json:"network,omitempty"` // of `labtest status` alone
	Error     string        `json:"error,omitempty"`   // why the rest is missing, where the lab's libvirt did not answer
}

// nodeJSON is a node in labJSON.
type nodeJSON struct {
	Name      string            `json:"name"`
	State     string            `json:"state"`     // of its domain, as libvirt says; "no domain" where there is none
	Addresses map[string]string `json:"addresses"` // by network; empty where there is no domain
}

func (s sight) json() labJSON {
	out := labJSON{
		ID: s.ID, Topology: s.Topology, Owner: s.Owner, SSHConfig: s.SSHConfig, Libvirt: virt.URI(s.Hypervisor),
		Nodes: []nodeJSON{},
	}
	for _, node := range s.nodes {
		addresses := node.Addresses
		if addresses == nil {
			addresses = map[string]string{}
		}
		out.Nodes = append(out.Nodes, nodeJSON{Name: node.Name, State: node.State, Addresses: addresses})
	}
	return out
}

func (a *app) listCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "Show the labs that run on this host",
		Long: "list shows the labs of this user whose owners live, in any process: `labtest up` or a test run.",
		Args: wants(),
		RunE: verb(func(ctx context.Context, _ []string) error {
			labs, err := a.all(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, labs)
			}
			return writeLabs(a.out, labs)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "an array for programs")
	return cmd
}

// all describes every lab. One that does not answer is shown with the reason.
func (a *app) all(ctx context.Context) ([]labJSON, error) {
	dirs, err := a.dirs()
	if err != nil {
		return nil, err
	}
	labs, err := lab.Find(dirs)
	if err != nil {
		return nil, err
	}
	out := make([]labJSON, 0, len(labs))
	for _, found := range labs {
		s, err := a.look(ctx, found)
		one := s.json()
		if err != nil {
			one.Error = err.Error()
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b labJSON) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func writeLabs(w io.Writer, labs []labJSON) error {
	if len(labs) == 0 {
		_, err := fmt.Fprintln(w, "no lab runs")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTOPOLOGY\tNODES\tOWNER")
	for _, one := range labs {
		var names []string
		for _, node := range one.Nodes {
			names = append(names, node.Name)
		}
		owner := one.Owner
		if one.Error != "" {
			owner = one.Error
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", one.ID, dash(one.Topology), dash(strings.Join(names, " ")), dash(owner))
	}
	return table.Flush()
}

// dash stands for what is empty in a table.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
