// Package host gives labs the machine they run on: a private libvirt (package virt), the image store (package image)
// and qemu-img.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"ionlab/internal/image"
	"ionlab/internal/lab"
	"ionlab/internal/virt"
)

// Host is the machine that labs run on. It is safe for concurrent use.
type Host struct {
	dirs  lab.Dirs
	log   *slog.Logger
	names []string
}

var _ lab.Host = (*Host)(nil)

// New describes the host; nothing is created before it is needed. It refuses what is not supported yet.
func New(dirs lab.Dirs, log *slog.Logger) (*Host, error) {
	if uri := os.Getenv("LIBVIRT_DEFAULT_URI"); uri != "" && os.Getenv("LABTEST_IGNORE_LIBVIRT_URI") == "" {
		return nil, fmt.Errorf("LIBVIRT_DEFAULT_URI=%q: a libvirt of your own is not supported yet; "+
			"unset it (ionlab starts a private one), or set LABTEST_IGNORE_LIBVIRT_URI=1", uri)
	}
	h := &Host{dirs: dirs, log: log}
	names, err := image.Names(h.imageConfig(nil))
	if err != nil {
		return nil, err
	}
	h.names = names
	return h, nil
}

func (h *Host) imageConfig(progress func(image.Event)) image.Config {
	return image.Config{
		Dir: filepath.Join(h.dirs.Cache, "images"), Log: h.log, Arch: runtime.GOARCH,
		Catalog: UserCatalog(), Progress: progress,
	}
}

// UserCatalog is the path of the user's own image catalog, which need not exist: LABTEST_CATALOG, else
// labtest/images.yaml in the user's configuration folder.
func UserCatalog() string {
	if path := os.Getenv("LABTEST_CATALOG"); path != "" {
		return path
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "labtest", "images.yaml")
}

// Store opens the image store of the host.
func (h *Host) Store(progress func(image.Event)) (*image.Store, error) {
	return image.Open(h.imageConfig(progress))
}

// Image makes an image ready for use.
func (h *Host) Image(ctx context.Context, req image.Request, progress func(image.Event)) (*image.Image, error) {
	store, err := h.Store(progress)
	if err != nil {
		return nil, err
	}
	return store.Ensure(ctx, req)
}

// Images are the names of the catalog.
func (h *Host) Images() []string { return h.names }

// Accelerator decides between KVM and TCG.
func (h *Host) Accelerator(ctx context.Context, kernels []string) (accel, reason string) {
	account, err := lab.QEMUAccount()
	if err != nil {
		return virt.TCG, err.Error()
	}
	v := virt.Probe(ctx, virt.AccelConfig{
		Forced: os.Getenv("LABTEST_ACCEL"), Kernels: kernels, Emulator: lab.Emulator,
		CacheDir: h.dirs.Cache, Account: (*virt.Account)(account),
	})
	return v.Accel, v.Reason
}

// Hypervisor starts a private libvirt in dir.
func (h *Host) Hypervisor(ctx context.Context, dir string, account *lab.Account) (lab.Hypervisor, error) {
	return virt.Start(ctx, virt.Config{
		Dir: dir, Account: (*virt.Account)(account), Log: h.log, Capabilities: filepath.Join(h.dirs.Cache, "capabilities"),
	})
}

// Overlay makes a qcow2 disk on top of an image's disk.
func (h *Host) Overlay(ctx context.Context, path, base, format string, size int64) error {
	return qemuImg(ctx, "make disk "+path+" on "+base, "create", "-q", "-f", "qcow2", "-b", base, "-F", format, path, strconv.FormatInt(size, 10))
}

// Rebase writes the path of the base into the disk's header, and touches nothing else.
func (h *Host) Rebase(ctx context.Context, path, base, format string) error {
	return qemuImg(ctx, "put disk "+path+" on "+base, "rebase", "-q", "-u", "-f", "qcow2", "-b", base, "-F", format, path)
}

// Flatten puts an overlay on a base further down its chain, and copies into it what the disks between the two have.
func (h *Host) Flatten(ctx context.Context, path, base, format string) error {
	return qemuImg(ctx, "put disk "+path+" on "+base+" alone", "rebase", "-q", "-t", "unsafe", "-f", "qcow2", "-b", base, "-F", format, path)
}

func qemuImg(ctx context.Context, doing string, args ...string) error {
	cmd := exec.CommandContext(ctx, "qemu-img", args...) //nolint:gosec // no shell; the paths are ours.
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s: %w (package qemu-utils; `make setup` installs it)", doing, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", doing, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
