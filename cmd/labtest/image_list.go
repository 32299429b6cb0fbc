package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ionlab/internal/image"
)

// imageJSON is an image in the output of `labtest image list --json`, which is an array of them. Fields may be added,
// never renamed or removed.
type imageJSON struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Kind        string    `json:"kind"`     // recipe, derived (a recipe image with packages), download, import or path
	Source      string    `json:"source"`   // where it comes from
	Packages    []string  `json:"packages"` // on top of a recipe image
	Arch        string    `json:"arch"`     // by Go's name
	Firmware    string    `json:"firmware"` // bios or uefi; empty when not known yet
	Present     bool      `json:"present"`  // it is in the store
	InUse       bool      `json:"in_use"`   // a running lab has it
	Damaged     string    `json:"damaged"`  // what is wrong with its files; empty when nothing is
	Digest      string    `json:"digest"`   // sha256:HEX; empty unless present
	Path        string    `json:"path"`     // folder in the store; empty unless present
	Bytes       int64     `json:"bytes"`    // on disk
	LastUsed    time.Time `json:"last_used,omitzero"`
}

func (a *app) imageListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "Show the images of the catalog and of the store",
		Args: wants(),
		RunE: verb(func(context.Context, []string) error {
			infos, err := a.images()
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.out, imagesJSON(infos))
			}
			return writeImages(a.out, infos)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "an array for programs")
	return cmd
}

func (a *app) images() ([]image.Info, error) {
	dirs, err := a.dirs()
	if err != nil {
		return nil, err
	}
	store, err := a.store(dirs, nil)
	if err != nil {
		return nil, err
	}
	return store.List()
}

func imagesJSON(infos []image.Info) []imageJSON {
	out := make([]imageJSON, 0, len(infos))
	for _, i := range infos {
		one := imageJSON{
			Name: i.Name, Description: i.Description, Kind: i.Kind, Source: i.Source, Packages: i.Packages, Arch: i.Arch,
			Firmware: i.Firmware, Present: i.Present, InUse: i.InUse, Damaged: i.Damaged, Digest: i.Digest, Path: i.Path,
			Bytes: i.Bytes, LastUsed: i.LastUsed,
		}
		if one.Packages == nil {
			one.Packages = []string{}
		}
		out = append(out, one)
	}
	return out
}

func writeImages(w io.Writer, infos []image.Info) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tKIND\tSTATE\tSIZE\tDESCRIPTION")
	for _, i := range infos {
		size, text := "-", i.Description
		if i.Present {
			size = byteSize(i.Bytes)
		}
		switch {
		case i.Damaged != "":
			text = i.Damaged
		case len(i.Packages) > 0:
			text = "with " + strings.Join(i.Packages, " ")
		case text == "":
			text = i.Source
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", i.Name, i.Kind, stateOf(i), size, text)
	}
	return table.Flush()
}

func stateOf(i image.Info) string {
	switch {
	case i.Damaged != "":
		return "damaged"
	case i.InUse:
		return "in use"
	case i.Present:
		return "present"
	}
	return "absent"
}
