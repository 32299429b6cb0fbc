package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ionlab/internal/domain"
	"ionlab/internal/seed"
	"ionlab/internal/snapshot"
)

// nameSources finds out which snapshots the lab can begin from.
func (l *Lab) nameSources(ctx context.Context) (err error) {
	w := &l.warmth
	if w.bare.inputs, err = l.snapshotInputs(ctx); err != nil || l.cfg.SetUp == nil {
		return err
	}
	w.furnished.inputs = maps.Clone(w.bare.inputs)
	return l.setUpInputs(w.furnished.inputs)
}

// snapshotInputs are all that the guests' state depends on when they are provisioned, before anything is deployed.
func (l *Lab) snapshotInputs(ctx context.Context) (snapshot.Inputs, error) {
	hypervisor, err := l.running()
	if err != nil {
		return nil, err
	}
	version, err := hypervisor.Version(ctx)
	if err != nil {
		return nil, err
	}
	in := snapshot.Inputs{
		"topology": l.topo.Metadata.Name, "accelerator": l.Accelerator(), "libvirt": version, "qemu": emulatorVersion(),
		"failed units": fmt.Sprintf("allowed: %t", l.cfg.AllowFailedUnits),
	}
	if l.Accelerator() == "kvm" {
		in["host"] = hostProcessor()
	}
	for _, node := range l.nodes {
		if err := node.snapshotInputs(in); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (n *Node) snapshotInputs(in snapshot.Inputs) error {
	cfg, err := n.domainConfig()
	if err != nil {
		return err
	}
	cfg.Kernel, cfg.Initrd = n.lab.inCache(cfg.Kernel), n.lab.inCache(cfg.Initrd)
	xml, err := domain.XML(anonymousDomain(cfg))
	if err != nil {
		return err
	}
	seedDigest, err := seed.Digest(n.seedConfig())
	if err != nil {
		return err
	}
	in["node "+n.Name()] = fmt.Sprintf("image %s at %s, disk %d, seed %s, domain %s",
		n.image.Digest, n.lab.inCache(n.image.Disk), n.diskSize(), seedDigest, digest(xml))
	return nil
}

// inCache is a path without the place of the cache folder, which may be another for the next start.
func (l *Lab) inCache(path string) string {
	if inside, ok := strings.CutPrefix(path, l.cfg.Dirs.Cache+"/"); ok {
		return "/cache/" + inside
	}
	return path
}

// anonymousDomain is the definition without the paths and names of one lab, which a restored domain may change.
func anonymousDomain(cfg domain.Config) domain.Config {
	cfg.UUID = "00000000-0000-0000-0000-000000000000"
	cfg.Disk.Path, cfg.Seed, cfg.Agent = "/disk", "/seed", "/agent"
	cfg.Console = domain.Console{Socket: "/console", Log: "/log"}
	cfg.Labels = domain.Labels{Lab: "lab", Owner: "owner", Node: cfg.Labels.Node}
	if cfg.Firmware.Vars != "" {
		cfg.Firmware.Vars = "/vars"
	}
	nics := slices.Clone(cfg.NICs)
	for i := range nics {
		nics[i].Socket = fmt.Sprintf("/nic%d", i)
	}
	cfg.NICs = nics
	return cfg
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// emulatorVersion tells one QEMU from another without running it.
func emulatorVersion() string {
	var stat unix.Stat_t
	if err := unix.Stat(Emulator, &stat); err != nil {
		return Emulator
	}
	return fmt.Sprintf("%s, %d bytes of %d", Emulator, stat.Size, stat.Mtim.Sec)
}

// hostProcessor is what a guest under KVM sees of the host: its processor, by a digest of the flags, and its kernel.
func hostProcessor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), "\n\n")
	var model, rest string
	for line := range strings.Lines(first) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "model name":
			model = strings.TrimSpace(value)
		case "vendor_id", "cpu family", "model", "stepping", "microcode", "flags":
			rest += line
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s (%s), Linux %s", model, digest(rest)[:8], strings.TrimSpace(string(kernel)))
}
