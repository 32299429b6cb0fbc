package virt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// Emulators that stand in for QEMU.
const (
	works4kvm = `echo "[    0.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"; exec sleep 60`
	aborts    = `echo booting; echo "error: kvm run failed Bad address" >&2; kill -ABRT $$`
	spins     = `exec sleep 60`
	denied    = `echo "Could not access KVM kernel module: Permission denied" >&2; exit 1`
)

// probing is a configuration whose device, kernel and emulator are the test's.
func probing(t testing.TB, emulator string) AccelConfig {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"kvm", "vmlinuz"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cache := filepath.Join(dir, "cache")
	if err := os.Mkdir(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	return AccelConfig{
		Kernels: []string{"/nonexistent/vmlinuz", filepath.Join(dir, "vmlinuz")}, Emulator: program(t, dir, "qemu", emulator),
		CacheDir: cache, Device: filepath.Join(dir, "kvm"), Patience: patience,
	}
}

func kept(t testing.TB, cfg AccelConfig) []string {
	t.Helper()
	if cfg.CacheDir == "" {
		return nil
	}
	paths, err := filepath.Glob(filepath.Join(cfg.CacheDir, "*"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return paths
}

func TestProbeRunsAKernel(t *testing.T) {
	for name, test := range map[string]struct {
		emulator string
		change   func(*AccelConfig)
		accel    string
		reason   string // as a regular expression
		kept     int
	}{
		"works":  {works4kvm, nil, KVM, `^a kernel ran under KVM up to its root disk in [0-9.]+m?s$`, 1},
		"aborts": {aborts, nil, TCG, `^KVM is there but does not run a stock kernel: QEMU ended \(signal: aborted.*\) before the kernel was up; QEMU said: error: kvm run failed Bad address$`, 1},
		"spins": {
			spins, func(c *AccelConfig) { c.Patience = 200 * time.Millisecond }, TCG,
			`^KVM is there but does not run a stock kernel: gave up after \d+ms: nothing within 200ms; last cause: the kernel has not come up; QEMU said: $`, 1,
		},
		"permission denied": {denied, nil, TCG, `/kvm is closed to the user that runs QEMU \(add that user to its group, or chmod it 0666\)$`, 0},
		"no kernel": {
			works4kvm, func(c *AccelConfig) { c.Kernels = []string{"/nonexistent"} }, TCG,
			"/kvm is there, but no readable kernel to prove that it works; `labtest image build debian-12` brings one, LABTEST_ACCEL=kvm skips the proof$", 0,
		},
		"no device": {
			works4kvm, func(c *AccelConfig) { c.Device = "/nonexistent/kvm" }, TCG,
			`^the host has no /nonexistent/kvm \(virtualization is off in the firmware, or this is a VM without nesting\)$`, 0,
		},
		"no emulator": {
			works4kvm, func(c *AccelConfig) { c.Emulator = "/nonexistent/qemu" }, TCG,
			`^there is no QEMU to try KVM with: start /nonexistent/qemu: .*no such file or directory$`, 0,
		},
		"forced kvm":   {aborts, func(c *AccelConfig) { c.Forced = "kvm" }, KVM, `^forced by LABTEST_ACCEL$`, 0},
		"forced tcg":   {works4kvm, func(c *AccelConfig) { c.Forced = "tcg" }, TCG, `^forced by LABTEST_ACCEL$`, 0},
		"forced wrong": {works4kvm, func(c *AccelConfig) { c.Forced = "KVM!" }, TCG, `^LABTEST_ACCEL="KVM!" is neither kvm nor tcg; ignored$`, 0},
		"no cache":     {works4kvm, func(c *AccelConfig) { c.CacheDir = "" }, KVM, `^a kernel ran`, 0},
		"lost cache":   {works4kvm, func(c *AccelConfig) { c.CacheDir = "/nonexistent" }, KVM, `^a kernel ran`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			cfg := probing(t, test.emulator)
			if test.change != nil {
				test.change(&cfg)
			}
			v := Probe(context.Background(), cfg)
			g.Expect(v.Accel).To(Equal(test.accel))
			g.Expect(v.Reason).To(MatchRegexp(test.reason))
			g.Expect(v.String()).To(Equal(v.Accel + ": " + v.Reason))
			g.Expect(kept(t, cfg)).To(HaveLen(test.kept), "verdicts kept")
		})
	}
}

func TestProbeGivesQEMUTheKernel(t *testing.T) {
	g := NewWithT(t)
	cfg := probing(t, `printf '%s\n' "$@" >"$0.argv"; `+works4kvm)
	g.Expect(Probe(context.Background(), cfg).Accel).To(Equal(KVM))
	argv, err := os.ReadFile(cfg.Emulator + ".argv")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(argv)).To(ContainSubstring("-machine\nq35,accel=kvm\n"))
	g.Expect(string(argv)).To(ContainSubstring("-kernel\n" + cfg.Kernels[1] + "\n"))
}

func TestProbeRunsQEMUAsItsAccount(t *testing.T) {
	g := NewWithT(t)
	cfg := probing(t, works4kvm)
	bin := t.TempDir()
	program(t, bin, "setpriv", `printf '%s ' "$@" >"$0.argv"; while [ "$1" != "`+cfg.Emulator+`" ]; do shift; done; exec "$@"`)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	cfg.Account = &Account{Name: "qemu", UID: 64055, GID: 108}
	g.Expect(Probe(context.Background(), cfg).Accel).To(Equal(KVM))
	argv, err := os.ReadFile(filepath.Join(bin, "setpriv.argv"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(argv)).To(HavePrefix("--reuid=64055 --regid=108 --init-groups --pdeathsig KILL " + cfg.Emulator + " -machine"))
	g.Expect(kept(t, cfg)).To(ConsistOf(HaveSuffix("-64055.json")), "the verdict is that user's")
}

func TestProbeThatIsCancelledIsNotKept(t *testing.T) {
	g := NewWithT(t)
	cfg := probing(t, spins)
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("^C")) })
	began := time.Now()
	g.Expect(Probe(ctx, cfg)).To(Equal(Verdict{TCG, "the probe of KVM was cancelled"}))
	g.Expect(time.Since(began)).To(BeNumerically("<", patience))
	g.Expect(kept(t, cfg)).To(BeEmpty())
}

func TestVerdictIsKeptForTheHostsBoot(t *testing.T) {
	g := NewWithT(t)
	cfg := probing(t, works4kvm)
	first := Probe(context.Background(), cfg)
	g.Expect(first.Accel).To(Equal(KVM))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	g.Expect(err).NotTo(HaveOccurred())
	files := kept(t, cfg)
	g.Expect(files).To(HaveLen(1))
	g.Expect(filepath.Base(files[0])).To(MatchRegexp(`^accel-%s-qemu-\d+\.json$`, strings.TrimSpace(string(boot))))

	program(t, filepath.Dir(cfg.Emulator), "qemu", aborts) // would be found out, if it were tried
	g.Expect(Probe(context.Background(), cfg)).To(Equal(first))
	other := cfg
	other.Emulator = program(t, filepath.Dir(cfg.Emulator), "qemu-other", aborts)
	g.Expect(Probe(context.Background(), other).Accel).To(Equal(TCG), "another emulator is tried")

	for _, broken := range []string{"", "{", `{"Accel": "hax"}`} {
		g.Expect(os.WriteFile(files[0], []byte(broken), 0o600)).To(Succeed())
		g.Expect(Probe(context.Background(), cfg).Accel).To(Equal(TCG), "a verdict that cannot be read is none")
	}

	earlier := strings.Replace(files[0], strings.TrimSpace(string(boot)), "0b0a7c5e-0000-4000-8000-000000000000", 1)
	g.Expect(os.Remove(files[0])).To(Succeed())
	g.Expect(os.WriteFile(earlier, []byte(`{"Accel": "kvm", "Reason": "an earlier boot's"}`), 0o600)).To(Succeed())
	g.Expect(Probe(context.Background(), cfg).Accel).To(Equal(TCG), "the verdict of an earlier boot is none")
}

func TestPermissionThatComesLaterCounts(t *testing.T) {
	g := NewWithT(t)
	cfg := probing(t, denied)
	g.Expect(Probe(context.Background(), cfg).Accel).To(Equal(TCG))
	program(t, filepath.Dir(cfg.Emulator), "qemu", works4kvm)
	g.Expect(Probe(context.Background(), cfg).Accel).To(Equal(KVM), "chmod of the device must not need a new boot of the host")
}
