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
)

func (a *app) statusCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status LAB", Short: "Show a lab's nodes, their states and addresses",
		Long:    "status asks the lab's own libvirt. LAB may be a dot where only one lab runs.",
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
			if asJSON {
				return writeJSON(a.out, s.json())
			}
			return writeStatus(a.out, s.json())
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
