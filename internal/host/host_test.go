package host

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/lab"
)

func newHost(t testing.TB) *Host {
	t.Helper()
	t.Setenv("LIBVIRT_DEFAULT_URI", "")
	root := t.TempDir()
	h, err := New(lab.Dirs{Run: root + "/r", State: root + "/s", Cache: root + "/c"}, slog.New(slog.DiscardHandler))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return h
}

func TestALibvirtOfTheUsersOwnIsRefused(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("LIBVIRT_DEFAULT_URI", "qemu:///system")
	_, err := New(lab.Dirs{}, slog.New(slog.DiscardHandler))
	g.Expect(err).To(MatchError(`LIBVIRT_DEFAULT_URI="qemu:///system": a libvirt of your own is not supported yet; ` +
		`unset it (ionlab starts a private one), or set LABTEST_IGNORE_LIBVIRT_URI=1`))
	t.Setenv("LABTEST_IGNORE_LIBVIRT_URI", "1")
	_, err = New(lab.Dirs{Cache: t.TempDir()}, slog.New(slog.DiscardHandler))
	g.Expect(err).NotTo(HaveOccurred())
}

func TestTheCatalogIsKnownBeforeAnythingIsMade(t *testing.T) {
	g := NewWithT(t)
	h := newHost(t)
	g.Expect(h.Images()).To(ContainElement("debian-12"))
	g.Expect(h.dirs.Cache).NotTo(BeAnExistingFile())
}

func TestUsersCatalog(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("LABTEST_CATALOG", "")
	t.Setenv("XDG_CONFIG_HOME", "/xdg/config")
	g.Expect(UserCatalog()).To(Equal("/xdg/config/labtest/images.yaml"))
	t.Setenv("LABTEST_CATALOG", "/my/images.yaml")
	g.Expect(UserCatalog()).To(Equal("/my/images.yaml"))
	t.Setenv("LABTEST_CATALOG", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	g.Expect(UserCatalog()).To(BeEmpty())
}

func TestForcedAcceleratorNeedsNoProbe(t *testing.T) {
	g := NewWithT(t)
	h := newHost(t)
	t.Setenv("LABTEST_ACCEL", "tcg")
	accel, reason := h.Accelerator(context.Background(), nil)
	g.Expect(accel).To(Equal("tcg"))
	g.Expect(reason).NotTo(BeEmpty())
}

func TestOverlaysAreMadeByQEMUImg(t *testing.T) {
	g := NewWithT(t)
	h := newHost(t)
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	tool := filepath.Join(bin, "qemu-img")
	err := h.Overlay(context.Background(), "/s/a.qcow2", "/images/base", "qcow2", 1<<30)
	g.Expect(err).To(MatchError("make disk /s/a.qcow2 on /images/base: exec: \"qemu-img\": executable file not found in $PATH (package qemu-utils; `make setup` installs it)"))
	g.Expect(os.WriteFile(tool, []byte("#!/bin/sh\nprintf '%s ' \"$@\" >$0.argv\n"), 0o755)).To(Succeed())
	g.Expect(h.Overlay(context.Background(), "/s/a.qcow2", "/images/base", "raw", 1<<30)).To(Succeed())
	argv, err := os.ReadFile(tool + ".argv")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(argv)).To(Equal("create -q -f qcow2 -b /images/base -F raw /s/a.qcow2 1073741824 "))
	g.Expect(h.Rebase(context.Background(), "/s/a.qcow2", "../base", "raw")).To(Succeed())
	argv, err = os.ReadFile(tool + ".argv")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(argv)).To(Equal("rebase -q -u -f qcow2 -b ../base -F raw /s/a.qcow2 "))
	g.Expect(os.WriteFile(tool, []byte("#!/bin/sh\necho 'qemu-img: No space left on device' >&2\nexit 1\n"), 0o755)).To(Succeed())
	err = h.Overlay(context.Background(), "/s/a.qcow2", "/images/base", "qcow2", 1<<30)
	g.Expect(err).To(MatchError("make disk /s/a.qcow2 on /images/base: exit status 1: qemu-img: No space left on device"))
}
