package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) cpCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cp SRC DST", Short: "Copy a file or a folder into a node or out of it",
		Long: `cp copies a file or a folder with its modes and symlinks. One of SRC and DST is LAB:NODE:PATH; the other is a path on
this host (with a slash before its first colon if it has one, as ./a:b). A PATH that does not begin with a slash starts
in root's home. A file appears under its final name complete or not at all, its digest checked.

scp and rsync work too: scp -F SSH_CONFIG FILE NODE:PATH`,
		Example: "  labtest cp ./tool .:alice:/usr/local/bin/\n  labtest cp .:alice:/var/log ./logs",
		Args:    wants("SRC", "DST"),
		RunE:    verb(func(ctx context.Context, args []string) error { return a.cp(ctx, args[0], args[1]) }),
	}
}

// place is one side of a copy. Lab and node are empty for this host.
type place struct{ lab, node, path string }

// parsePlace reads LAB:NODE:PATH or a path on this host. What has a slash before its first colon, or no colon, is one.
func parsePlace(text string) (place, error) {
	before, _, colon := strings.Cut(text, ":")
	if !colon || strings.Contains(before, "/") {
		if text == "" {
			return place{}, errors.New("a path is empty")
		}
		return place{path: text}, nil
	}
	parts := strings.SplitN(text, ":", 3)
	if len(parts) == 2 {
		return place{}, fmt.Errorf("%q is not LAB:NODE:PATH (.:%s where only one lab runs); a file of this host: ./%s", text, text, text)
	}
	if parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return place{}, fmt.Errorf("%q is not LAB:NODE:PATH: one of the three is empty", text)
	}
	return place{lab: parts[0], node: parts[1], path: parts[2]}, nil
}

func (p place) remote() bool { return p.lab != "" }

func (a *app) cp(ctx context.Context, from, to string) error {
	src, errSrc := parsePlace(from)
	dst, errDst := parsePlace(to)
	if err := errors.Join(errSrc, errDst); err != nil {
		return usage(err)
	}
	far := src
	switch {
	case src.remote() && dst.remote():
		return usage(errors.New("both sides are in nodes: copy to this host first, then from it"))
	case !src.remote() && !dst.remote():
		return usage(errors.New("neither side is LAB:NODE:PATH: nothing to do with a lab"))
	case dst.remote():
		far = dst
		if _, err := os.Stat(src.path); err != nil {
			return usage(fmt.Errorf("read the source: %w", err))
		}
	}
	found, err := a.findNode(ctx, far.lab, far.node)
	if err != nil {
		return err
	}
	client, err := found.Guest(far.node)
	if err != nil {
		return err
	}
	if dst.remote() {
		err = client.Upload(ctx, src.path, dst.path)
	} else {
		err = client.Download(ctx, src.path, dst.path)
	}
	if err != nil {
		err = a.explain(ctx, found, far.node, err)
	}
	return errors.Join(err, client.Close())
}
