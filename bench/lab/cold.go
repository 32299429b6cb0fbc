package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ionlab/internal/host"
	"ionlab/internal/image"
	"ionlab/internal/seed"
)

// The plain way's machine that boots, in QEMU's own network.
const (
	coldName = "untrimmed"
	coldMAC  = "52:54:00:12:34:56"
)

// coldStarts measures a boot to ready: our image, and the same packages without our trimming.
func (b *bench) coldStarts(ctx context.Context) (err error) {
	file, err := b.topologyFile(1)
	if err != nil {
		return err
	}
	m, err := b.untrimmedMachine(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.remove()) }()
	ours := func(ctx context.Context) (cost, error) {
		watch := startWatch()
		l, err := b.start(ctx, file, true)
		if err != nil {
			return cost{}, err
		}
		spent := watch.read()
		for _, stage := range l.Nodes()[0].Stages() {
			b.say("  %s %s", stage.Stage, stage.Took.Round(10*time.Millisecond))
		}
		return spent, l.Close()
	}
	by := plainWay{
		row: row{
			Name: "cold start to ready, 1 machine", Unit: "s", Aim: 0.65,
			Plain: "the same packages untrimmed (Debian's initrd, cloud-init, units and kernel line); QEMU, ssh until it lets in, cloud-init status --wait",
		},
		do: func(ctx context.Context) (cost, error) { return b.plainBoot(ctx, m) },
	}
	rows, err := b.run(ctx, contest{ours, []plainWay{by}}, b.times(2))
	if err != nil || b.warmth == nil {
		return err
	}
	r := rows[0]
	ratio := &row{
		Name: "warm start, 1 machine, beside a cold start", Unit: "s", Ours: b.warmth.Ours, Their: r.Ours, Aim: 1.0 / coldToWarm,
		Plain: "the cold starts above, of the trimmed image", Load: r.Load,
	}
	b.report.Rows = append(b.report.Rows, ratio)
	untrimmed := &row{
		Name: "warm start, 1 machine, beside the untrimmed cold start", Unit: "s", Ours: b.warmth.Ours, Their: r.Their,
		Plain: "the plain way's cold starts above", Load: r.Load,
	}
	b.report.Rows = append(b.report.Rows, untrimmed)
	return nil
}

// plainBoot boots the machine by the script, until it says that it is ready.
func (b *bench) plainBoot(ctx context.Context, m *machine) (cost, error) {
	cmd := exec.CommandContext(ctx, "sh", b.plain.script, "boot", m.dir)
	cmd.Env = b.plain.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	in, err := cmd.StdinPipe()
	if err != nil {
		return cost{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return cost{}, err
	}
	watch := startWatch()
	if err := cmd.Start(); err != nil {
		return cost{}, err
	}
	word, readErr := bufio.NewReader(out).ReadString('\n')
	spent := watch.read()
	err = errors.Join(in.Close(), cmd.Wait())
	if word != "ready\n" {
		trace, _ := os.ReadFile(filepath.Join(m.dir, "ssh.log"))
		return spent, errors.Join(fmt.Errorf("the machine is not ready: %q: %w: %s", word, readErr, trace), err)
	}
	return spent, err
}

// untrimmedMachine makes the folder of the machine that boots.
func (b *bench) untrimmedMachine(ctx context.Context) (*machine, error) {
	disk, err := b.untrimmedImage(ctx)
	if err != nil {
		return nil, err
	}
	client, err := seed.NewClientKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	hostKey, err := seed.NewHostKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	m, port, err := b.plain.newMachine(coldName, client.Private, hostKey.Public)
	if err != nil {
		return nil, err
	}
	address, gateway := netip.MustParsePrefix("10.0.2.15/24"), netip.MustParseAddr("10.0.2.2")
	err = seed.WriteFile(filepath.Join(m.dir, "seed.iso"), seed.Config{
		InstanceID: "untrimmed-" + time.Now().Format("150405"), Hostname: coldName, RootKeys: []string{client.Public}, HostKey: hostKey,
		Interfaces: []seed.Interface{{MAC: coldMAC, Addrs: []netip.Prefix{address}, Gateway: gateway}}, BootNonce: "nonce",
	})
	errs := []error{err}
	for name, text := range map[string]string{
		"mac": coldMAC, "memory_mb": fmt.Sprint(memoryMB),
		"net": fmt.Sprintf("ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:%d-%s:22", port, address.Addr()),
	} {
		errs = append(errs, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600))
	}
	for _, name := range []string{"base.qcow2", "vmlinuz", "initrd.img"} {
		errs = append(errs, os.Symlink(filepath.Join(disk, name), filepath.Join(m.dir, name)))
	}
	return m, errors.Join(errs...)
}

// recipeImage is the image that labs boot.
func (b *bench) recipeImage(ctx context.Context) (*image.Image, error) {
	machine, err := host.New(b.dirs, b.log)
	if err != nil {
		return nil, err
	}
	return machine.Image(ctx, image.Request{Name: "debian-12"}, func(e image.Event) { b.log.Info(e.Stage, "image", e.Image, "note", e.Note) })
}
