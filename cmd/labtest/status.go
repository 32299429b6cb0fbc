package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ionlab/internal/lab"
)

func (a *app) statusCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status LAB", Short: "Show a lab's nodes, their states and addresses, and its networks",
		Long: "status asks the lab's own libvirt for its nodes, and its owner for its networks: links that are impaired or down,\n" +
			"partitions, routers. LAB may be a dot where only one lab runs.",
		Example: "  labtest status .\n  labtest status quickstart --json",
		Args:    wants("LAB"), ValidArgsFunction: a.completeLab,
		RunE: verb(func(ctx context.Context, args []string) error {
			found, err := a.find(ctx, args[0])
			if err != nil {
				return err
			}
			s, err := a.look(ctx, found)
			if err != nil {
				return err
			}
			out := s.json()
			// A lab that is starting has no networks yet, and one of an older labtest does not tell.
			if state, err := found.NetState(ctx); err == nil {
				out.Network = &state
			}
			if asJSON {
				return writeJSON(a.out, out)
			}
			return writeStatus(a.out, out)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "an object for programs")
	return cmd
}

func writeStatus(w io.Writer, s labJSON) error {
	fmt.Fprintf(w, "lab         %s\ntopology    %s\nowner       %s\nssh_config  %s\nlibvirt     %s\n\n",
		s.ID, dash(s.Topology), dash(s.Owner), s.SSHConfig, s.Libvirt)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tSTATE\tADDRESSES")
	for _, node := range s.Nodes {
		fmt.Fprintf(table, "%s\t%s\t%s\n", node.Name, node.State, dash(addresses(node.Addresses)))
	}
	if err := table.Flush(); err != nil || s.Network == nil {
		return err
	}
	return writeNetwork(w, *s.Network)
}

// writeNetwork shows what is special about the networks: links that are impaired or down, cuts, routers.
func writeNetwork(w io.Writer, n lab.NetState) error {
	var impaired []lab.LinkState
	for _, link := range n.Links {
		if link.IsImpaired() {
			impaired = append(impaired, link)
		}
	}
	if len(impaired) > 0 {
		fmt.Fprintf(w, "\nimpairment seed %d\n\n", n.Seed)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "LINK\tSTATE\tLOST")
		for _, link := range impaired {
			fmt.Fprintf(table, "%s@%s\t%s\t%d\n", link.Owner, link.Network, link, link.Lost())
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	for i, cut := range n.Cuts {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "partition: nothing of %s reaches %s\n", cut[0], cut[1])
	}
	if len(n.Routers) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROUTER\tINSIDE\tOUTSIDE\tNAT\tFIREWALL\tMAPPINGS")
	for _, r := range n.Routers {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\n", r.Name, r.Inside, r.Outside, r.NAT, r.Firewall, len(r.Mappings))
	}
	return table.Flush()
}

// addresses lists addresses by network, in the order of the networks' names.
func addresses(byNetwork map[string]string) string {
	var words []string
	for _, network := range slices.Sorted(maps.Keys(byNetwork)) {
		words = append(words, network+" "+byNetwork[network])
	}
	return strings.Join(words, ", ")
}
