package virt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ionlab/internal/poll"
)

// The accelerators of QEMU that ionlab uses.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// Verdict says which accelerator to use and why.
type Verdict struct {
	Accel  string // KVM or TCG
	Reason string // one sentence, for people
}

// String is the verdict in one line.
func (v Verdict) String() string { return v.Accel + ": " + v.Reason }

// AccelConfig is what a probe needs.
type AccelConfig struct {
	Forced   string   // "kvm" or "tcg" (LABTEST_ACCEL); empty to probe
	Kernels  []string // Linux kernels, any of which serves for the probe
	Emulator string   // the QEMU program
	CacheDir string   // where the verdict is kept until the next boot of the host
	Account  *Account // who will run QEMU; nil for ourselves
	Device   string   // KVM's device; empty is /dev/kvm
	// Patience is how long a kernel may take to its root disk before KVM counts as broken; 0 is 20 s. A good one takes
	// less than one.
	Patience time.Duration
}

func (c AccelConfig) withDefaults() AccelConfig {
	if c.Device == "" {
		c.Device = "/dev/kvm"
	}
	if c.Patience == 0 {
		c.Patience = 20 * time.Second
	}
	return c
}

// Probe decides between KVM and TCG. A /dev/kvm that opens proves nothing: nested and paravirtual hosts may offer one
// that cannot run a stock kernel (QEMU aborts, or the guest spins without a word). So Probe runs a real kernel until
// it asks for its root disk. The verdict is kept for the host's boot, per QEMU user. Probe never fails: what goes
// wrong is a reason for TCG.
func Probe(ctx context.Context, cfg AccelConfig) Verdict {
	cfg = cfg.withDefaults()
	switch cfg.Forced {
	case KVM, TCG:
		return Verdict{cfg.Forced, "forced by LABTEST_ACCEL"}
	case "":
	default:
		return Verdict{TCG, fmt.Sprintf("LABTEST_ACCEL=%q is neither kvm nor tcg; ignored", cfg.Forced)}
	}
	if _, err := os.Stat(cfg.Device); errors.Is(err, fs.ErrNotExist) {
		return Verdict{TCG, "the host has no " + cfg.Device + " (virtualization is off in the firmware, or this is a VM without nesting)"}
	}
	path := cachePath(cfg)
	if v, ok := recall(path); ok {
		return v
	}
	v, certain := probeKVM(ctx, cfg)
	if certain {
		remember(path, v)
	}
	return v
}

// probeKVM reports whether its verdict is certain. One that was cut short, or lacked a kernel, a QEMU or the right to the
// device, is not kept: what it lacks can come at any time.
func probeKVM(ctx context.Context, cfg AccelConfig) (Verdict, bool) {
	kernel := readable(cfg.Kernels)
	if kernel == "" {
		return Verdict{TCG, cfg.Device + " is there, but no readable kernel to prove that it works; " +
			"`labtest image build debian-12` brings one, LABTEST_ACCEL=kvm skips the proof"}, false
	}
	began := time.Now()
	out, err := runKernel(ctx, cfg, kernel)
	switch {
	case err == nil:
		return Verdict{KVM, fmt.Sprintf("a kernel ran under KVM up to its root disk in %s", time.Since(began).Round(10*time.Millisecond))}, true
	case ctx.Err() != nil:
		return Verdict{TCG, "the probe of KVM was cancelled"}, false
	case strings.Contains(out, "Permission denied"):
		return Verdict{TCG, cfg.Device + " is closed to the user that runs QEMU (add that user to its group, or chmod it 0666)"}, false
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return Verdict{TCG, "there is no QEMU to try KVM with: " + err.Error()}, false
	}
	return Verdict{TCG, fmt.Sprintf("KVM is there but does not run a stock kernel: %v; QEMU said: %s", err, lastLine(out))}, true
}

// runKernel boots kernel without a disk and waits for the panic that ends such a boot.
func runKernel(ctx context.Context, cfg AccelConfig, kernel string) (string, error) {
	argv := []string{
		cfg.Emulator, "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-kernel", kernel, "-append", "console=ttyS0 panic=-1 root=/dev/none",
	}
	if a := cfg.Account; a != nil {
		argv = append([]string{
			"setpriv", "--reuid=" + strconv.Itoa(a.UID), "--regid=" + strconv.Itoa(a.GID),
			"--init-groups", "--pdeathsig", "KILL",
		}, argv...)
	}
	p, err := spawn(exec.Command(argv[0], argv[1:]...)) //nolint:gosec,noctx // killed below; argv is ours.
	if err != nil {
		return err.Error(), err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Patience, fmt.Errorf("nothing within %s", cfg.Patience))
	defer cancel()
	err = poll.Until(ctx, 20*time.Millisecond, func(context.Context) error {
		ended := p.ended() // asked first: what it printed before its end counts
		switch {
		case strings.Contains(p.output.String(), "Unable to mount root fs"):
			return nil
		case ended:
			return poll.Stop(fmt.Errorf("QEMU ended (%v) before the kernel was up", p.err)) //nolint:errorlint // in words.
		}
		return errors.New("the kernel has not come up")
	})
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
	return p.output.String(), err
}

func readable(paths []string) string {
	for _, path := range paths {
		if f, err := os.Open(path); err == nil {
			_ = f.Close()
			return path
		}
	}
	return ""
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// cachePath names the verdict after what it depends on: the host's boot, the emulator and the user of QEMU.
func cachePath(cfg AccelConfig) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || cfg.CacheDir == "" {
		return ""
	}
	uid := os.Getuid()
	if cfg.Account != nil {
		uid = cfg.Account.UID
	}
	name := fmt.Sprintf("accel-%s-%s-%d.json", strings.TrimSpace(string(boot)), filepath.Base(cfg.Emulator), uid)
	return filepath.Join(cfg.CacheDir, name)
}

func recall(path string) (Verdict, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Verdict{}, false
	}
	var v Verdict
	if json.Unmarshal(data, &v) != nil || (v.Accel != KVM && v.Accel != TCG) {
		return Verdict{}, false
	}
	return v, true
}

// remember keeps a verdict. That it could not be kept costs the next start a probe, nothing else.
func remember(path string, v Verdict) {
	data, err := json.Marshal(v)
	if err != nil || path == "" {
		return
	}
	temp := path + "." + strconv.Itoa(os.Getpid())
	if os.WriteFile(temp, data, 0o600) == nil {
		_ = os.Rename(temp, path)
	}
}
