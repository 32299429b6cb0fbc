package main

import (
	"github.com/spf13/cobra"

	"ionlab/internal/lab"
)

// completeLab offers the ids of the labs that run, for the first argument.
func (a *app) completeLab(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	dirs, err := a.dirs()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	labs, err := lab.Find(dirs)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for _, found := range labs {
		ids = append(ids, found.ID)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeNode offers labs, then the nodes of the lab.
func (a *app) completeNode(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.completeLab(cmd, args, typed)
	case 1:
		found, err := a.find(cmd.Context(), args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names, err := found.Nodes()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// completeTopology offers YAML files.
func completeTopology(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
