package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ionlab/internal/image"
)

func (a *app) imageCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "List, make and remove the images that nodes boot",
		Long: `image looks after the store of images. A lab makes what it lacks by itself; these commands do it beforehand, and add
disks of your own.`,
		Args: cobra.ArbitraryArgs, RunE: a.needVerb,
	}
	cmd.AddCommand(a.imageListCmd(), a.imageBuildCmd(), a.imagePullCmd(), a.imageImportCmd(), a.imageRemoveCmd(), a.imageVerifyCmd())
	return cmd
}

// withStore opens the image store, with progress, for a piece of work.
func (a *app) withStore(ctx context.Context, work func(*image.Store) error) error {
	dirs, err := a.dirs()
	if err != nil {
		return err
	}
	p := a.newProgress(ctx)
	store, err := a.store(dirs, func(e image.Event) {
		p.update(stage{who: e.Image, what: e.Stage, note: e.Note, done: e.Done, total: e.Total})
	})
	if err == nil {
		err = work(store)
	}
	return errors.Join(err, p.Close())
}

func (a *app) imageBuildCmd() *cobra.Command {
	var packages []string
	var anew bool
	cmd := &cobra.Command{
		Use: "build NAME", Short: "Make an image by its recipe, unless the store has it",
		Long: `build makes an image of the catalog that has a recipe, on this host, without root. With --packages it makes the image
that nodes with these packages boot.`,
		Example: "  labtest image build debian-12\n  labtest image build debian-12 --packages curl,jq",
		Args:    wants("NAME"), ValidArgsFunction: a.completeImage(image.KindRecipe),
		RunE: verb(func(ctx context.Context, args []string) error {
			return a.withStore(ctx, func(s *image.Store) error {
				obtain := s.Ensure
				if anew {
					obtain = s.Build
				}
				img, err := obtain(ctx, image.Request{Name: args[0], Packages: packages})
				return a.ready(img, err)
			})
		}),
	}
	cmd.Flags().StringSliceVar(&packages, "packages", nil, "Debian packages to install on top")
	cmd.Flags().BoolVar(&anew, "rebuild", false, "make it anew even if the store has it")
	return cmd
}

func (a *app) imagePullCmd() *cobra.Command {
	return &cobra.Command{
		Use: "pull NAME", Short: "Download an image of the catalog, unless the store has it",
		Long: `pull downloads an image, resuming what an earlier pull began, and checks its digest. NAME may also be a URL with a
digest: https://host/disk.qcow2#sha256=HEX`,
		Example: "  labtest image pull debian-12-cloudimg",
		Args:    wants("NAME"), ValidArgsFunction: a.completeImage(image.KindDownload),
		RunE: verb(func(ctx context.Context, args []string) error {
			return a.withStore(ctx, func(s *image.Store) error {
				img, err := s.Ensure(ctx, image.Request{Name: args[0]})
				return a.ready(img, err)
			})
		}),
	}
}

func (a *app) imageImportCmd() *cobra.Command {
	var opts image.ImportOptions
	cmd := &cobra.Command{
		Use: "import FILE --name NAME", Short: "Take a disk of your own into the store",
		Long: `import copies a qcow2 or raw disk that has its own boot loader into the store. For labs it needs cloud-init (NoCloud)
and an SSH server. A NAME of the catalog stands in for that image: so a host without a way out gets it.`,
		Example: "  labtest image import ./jammy.qcow2 --name ubuntu-22.04-cloudimg",
		Args:    wants("FILE"),
		RunE: verb(func(ctx context.Context, args []string) error {
			return a.withStore(ctx, func(s *image.Store) error {
				img, err := s.Import(ctx, args[0], opts)
				return a.ready(img, err)
			})
		}),
	}
	cmd.Flags().StringVar(&opts.Name, "name", "", "what topologies call the image")
	cmd.Flags().StringVar(&opts.Firmware, "firmware", "", "bios or uefi; found out from the partition table when left out")
	_ = cmd.MarkFlagRequired("name") // it fails only for a flag that is not there
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if f := opts.Firmware; f != "" && f != image.BIOS && f != image.UEFI {
			return fmt.Errorf("--firmware %q: bios or uefi", f)
		}
		return nil
	}
	return cmd
}

// ready tells of an image that is in the store now, and lets go of it.
func (a *app) ready(img *image.Image, err error) error {
	if err != nil {
		return err
	}
	if err := img.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s %s\n", strings.Join(append([]string{img.Name}, img.Packages...), " "), img.Digest)
	return err
}

func (a *app) imageRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove"}, Short: "Remove an image, and those with packages on top of it, from the store",
		Long: "rm refuses an image that a running lab uses.",
		Args: wants("NAME"), ValidArgsFunction: a.completeImage(""),
		RunE: verb(func(ctx context.Context, args []string) error {
			return a.withStore(ctx, func(s *image.Store) error { return s.Remove(ctx, args[0]) })
		}),
	}
}

func (a *app) imageVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "verify NAME", Short: "Read an image's files and compare them with their digests",
		Args: wants("NAME"), ValidArgsFunction: a.completeImage(""),
		RunE: verb(func(ctx context.Context, args []string) error {
			err := a.withStore(ctx, func(s *image.Store) error { return s.Verify(ctx, args[0]) })
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s: ok\n", args[0])
			return err
		}),
	}
}

// completeImage offers images: of the kind, or those in the store.
func (a *app) completeImage(kind string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		infos, err := a.images()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, info := range infos {
			if info.Kind == kind || kind == "" && info.Present {
				names = append(names, info.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
