package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ionlab/internal/doctor"
	"ionlab/internal/lab"
	"ionlab/internal/virt"
)

// checkLimit bounds each check: the proof of KVM boots a kernel, which package virt gives 20 s.
const checkLimit = 30 * time.Second

func (a *app) doctorCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look at this host, and say what is missing and what to do about it",
		Long: `doctor checks what labs need of this host: KVM, by running a kernel in it, QEMU and libvirt, namespaces, the tools that
build images, memory, disk, and mirrors. It changes nothing.

Exit status: 0 labs can run, perhaps with warnings; 1 something has to be remedied first.`,
		Example: "  labtest doctor\n  labtest doctor --json | jq '.checks[] | select(.status != \"ok\")'",
		Args:    wants(),
		RunE: verb(func(ctx context.Context, _ []string) error {
			report, err := a.diagnose(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(a.out, report)
			} else {
				err = report.WriteText(a.out)
			}
			if err == nil && report.Status == doctor.Fail {
				return &exitError{status: statusFailed} // the report has said why
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "an object for programs")
	return cmd
}

func (a *app) diagnose(ctx context.Context) (doctor.Report, error) {
	dirs, err := a.dirs()
	if err != nil {
		return doctor.Report{}, err
	}
	machine, err := a.machine(dirs)
	if err != nil {
		return doctor.Report{}, err
	}
	return a.examine(ctx, doctor.Config{
		StateDir: dirs.State, CacheDir: dirs.Cache, RunDir: dirs.Run, Timeout: checkLimit,
		KVM: func(ctx context.Context) error {
			accel, reason := machine.Accelerator(ctx, kernels(dirs))
			if accel != virt.KVM {
				return errors.New(reason)
			}
			return nil
		},
	}), nil
}

// kernels are those at hand to prove KVM with: of the images in the store, then of this host.
func kernels(dirs lab.Dirs) []string {
	ofImages, _ := filepath.Glob(filepath.Join(dirs.Cache, "images", "objects", "*", "vmlinuz"))
	ofHost, _ := filepath.Glob("/boot/vmlinuz-*")
	return slices.Concat(ofImages, ofHost)
}
