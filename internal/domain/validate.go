package domain

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// MaxSocketPath is the longest path of a unix socket in bytes; unix(7).
const MaxSocketPath = 107

const archX86 = "x86_64"

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// problems collects what is wrong with a Config.
type problems []error

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

func validate(cfg Config) error {
	var found problems
	found.identity(cfg)
	found.machine(cfg)
	found.boot(cfg)
	found.path("emulator", cfg.Emulator)
	found.path("disk", cfg.Disk.Path)
	if cfg.Memory != "" {
		found.path("memory", cfg.Memory)
	}
	if !slices.Contains([]string{"qcow2", "raw"}, cfg.Disk.Format) {
		found.addf("disk format %q: want qcow2 or raw", cfg.Disk.Format)
	}
	if cfg.Seed != "" {
		found.path("seed", cfg.Seed)
	}
	found.socket("console socket", cfg.Console.Socket)
	found.path("console log", cfg.Console.Log)
	if cfg.Agent != "" {
		found.socket("agent socket", cfg.Agent)
	}
	found.nics(cfg.NICs)
	return errors.Join(found...)
}

func (p *problems) identity(cfg Config) {
	if !namePattern.MatchString(cfg.Name) {
		p.addf("name %q: want 1 to 128 letters, digits, dots, dashes and underscores", cfg.Name)
	}
	if !uuidPattern.MatchString(cfg.UUID) {
		p.addf("UUID %q: want lower-case hexadecimal digits such as 4dea22b3-1d52-4d8f-b5a9-5e0c1c4f7a10", cfg.UUID)
	}
	for _, name := range cfg.Labels.missing() {
		p.addf("label %s is empty: without it nobody could tell whose domain this is", name)
	}
	values := []string{cfg.Labels.Lab, cfg.Labels.Owner, cfg.Labels.Node, cfg.Labels.Topology, cfg.Labels.TopologyDigest}
	for network, address := range cfg.Labels.Addresses {
		values = append(values, network, address)
	}
	slices.Sort(values)
	for _, value := range values {
		if !isXMLText(value) {
			p.addf("label %q holds characters that XML cannot carry", value)
		}
	}
}

func (p *problems) machine(cfg Config) {
	if cfg.MemoryMB < 1 {
		p.addf("memory of %d MiB: want at least 1", cfg.MemoryMB)
	}
	if cfg.VCPUs < 1 {
		p.addf("%d virtual CPUs: want at least 1", cfg.VCPUs)
	}
	if cfg.Accel != AccelKVM && cfg.Accel != AccelTCG {
		p.addf("accelerator %q: want %s or %s", cfg.Accel, AccelKVM, AccelTCG)
	}
	if cfg.Arch != "" && cfg.Arch != archX86 {
		p.addf("architecture %q: only %s is supported", cfg.Arch, archX86)
	}
}

func (p *problems) boot(cfg Config) {
	if cfg.Kernel == "" && (cfg.Initrd != "" || cfg.Cmdline != "") {
		p.addf("an initrd or a kernel command line is given but no kernel")
	}
	if cfg.Kernel != "" {
		p.path("kernel", cfg.Kernel)
	}
	if cfg.Initrd != "" {
		p.path("initrd", cfg.Initrd)
	}
	if !isXMLText(cfg.Cmdline) {
		p.addf("kernel command line %q holds characters that XML cannot carry", cfg.Cmdline)
	}
	switch fw := cfg.Firmware; fw.Kind {
	case FirmwareUEFI:
		p.path("UEFI code", fw.Code)
		p.path("UEFI variables template", fw.VarsTemplate)
		p.path("UEFI variables", fw.Vars)
	case "", FirmwareBIOS:
		if fw.Code != "" || fw.VarsTemplate != "" || fw.Vars != "" {
			p.addf("firmware files are given but the firmware is the BIOS: want the kind %s", FirmwareUEFI)
		}
	default:
		p.addf("firmware %q: want %s or %s", fw.Kind, FirmwareBIOS, FirmwareUEFI)
	}
}

func (p *problems) path(what, path string) {
	switch {
	case path == "":
		p.addf("%s: the path is missing", what)
	case !filepath.IsAbs(path):
		p.addf("%s %q: want an absolute path: libvirt's working folder is another one", what, path)
	case !isXMLText(path) || strings.ContainsAny(path, "\n\r\t"):
		p.addf("%s %q: want a path without control characters", what, path)
	}
}

func (p *problems) socket(what, path string) {
	p.path(what, path)
	if len(path) > MaxSocketPath {
		p.addf("%s %q: the path has %d bytes and a unix socket's may have %d: use a shorter run folder",
			what, path, len(path), MaxSocketPath)
	}
}

func (p *problems) nics(nics []NIC) {
	if len(nics) > MaxNICs {
		p.addf("%d NICs: want at most %d", len(nics), MaxNICs)
	}
	var macs, sockets []string
	for i, nic := range nics {
		what := fmt.Sprintf("NIC %d", i)
		hw, err := net.ParseMAC(nic.MAC)
		switch {
		case err != nil || len(hw) != 6 || len(nic.MAC) != len("02:00:5e:10:00:01") || nic.MAC[2] != ':':
			p.addf("%s: MAC %q: want six bytes such as 02:00:5e:10:00:01", what, nic.MAC)
		case hw[0]&1 != 0:
			p.addf("%s: MAC %s is a multicast address: want an even first byte", what, hw)
		case slices.Contains(macs, hw.String()):
			p.addf("%s: MAC %s is another NIC's too", what, hw)
		}
		macs = append(macs, hw.String())
		if slices.Contains(sockets, nic.Socket) {
			p.addf("%s: socket %q is another NIC's too", what, nic.Socket)
		}
		sockets = append(sockets, nic.Socket)
		p.socket(what+": socket", nic.Socket)
		if nic.MTU != 0 && (nic.MTU < 68 || nic.MTU > 65535) {
			p.addf("%s: MTU %d: want 68 to 65535", what, nic.MTU)
		}
	}
}
