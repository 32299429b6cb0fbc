// Package domain writes the libvirt XML of a lab's machines and reads back the labels in it.
//
// XML turns a Config into a domain definition: q35, virtio disk, serial console, one NIC per link whose frames go to
// the fabric over a unix socket. Element by element: https://libvirt.org/formatdomain.html. The result is tried with
// libvirt 9.0 and QEMU 7.2.
package domain

import (
	"fmt"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// Accelerators that Config.Accel may name.
const (
	AccelKVM = "kvm"
	AccelTCG = "tcg"
)

// Firmware kinds that Firmware.Kind may name.
const (
	FirmwareBIOS = "bios"
	FirmwareUEFI = "uefi"
)

// Config describes one domain. Paths are absolute; those of sockets are at most MaxSocketPath bytes.
type Config struct {
	Name     string
	UUID     string // 36 characters, as RFC 9562 writes it
	Labels   Labels
	MemoryMB int // MiB
	VCPUs    int
	Accel    string // AccelKVM or AccelTCG
	Emulator string // path of QEMU
	Arch     string // x86_64, which is also what an empty value means

	// Memory is an image of the guest's memory, which a machine that is restored maps for itself alone; empty for none.
	Memory  string
	Disk    Disk
	Seed    string // path of the NoCloud volume; empty for none
	Console Console

	Kernel   string // boots this kernel directly instead of the disk's boot loader
	Initrd   string
	Cmdline  string
	Firmware Firmware

	NICs  []NIC  // at most MaxNICs
	Agent string // path of the socket that libvirt makes for the guest agent; empty for no agent
}

// Disk is the root disk. It is thrown away with the lab, so the host may cache all writes.
type Disk struct {
	Path   string
	Format string // qcow2 or raw
}

// Console is the first serial port.
type Console struct {
	Socket string // QEMU listens here for one client at a time
	Log    string // QEMU appends all output here, whether a client is there or not
}

// Firmware is what starts before the boot loader. The zero value is the BIOS that QEMU brings.
type Firmware struct {
	Kind         string // FirmwareBIOS, FirmwareUEFI, or empty for BIOS
	Code         string // UEFI: the read-only flash image
	VarsTemplate string // UEFI: copied to Vars on the first start
	Vars         string // UEFI: this domain's variables
}

// NIC is one virtio network card. QEMU connects to Socket when it starts, so the fabric must listen before.
type NIC struct {
	MAC    string
	Socket string
	MTU    int // bytes; 0 is 1500, and other values are announced to the guest
}

// XML returns the domain's definition. The error joins all that is wrong with cfg.
func XML(cfg Config) (string, error) {
	if err := validate(cfg); err != nil {
		return "", fmt.Errorf("define domain %q: %w", cfg.Name, err)
	}
	labels, err := cfg.Labels.xml()
	if err != nil {
		return "", fmt.Errorf("define domain %q: write labels: %w", cfg.Name, err)
	}
	text, err := plan(cfg, labels).Marshal()
	if err != nil {
		return "", fmt.Errorf("define domain %q: encode XML: %w", cfg.Name, err)
	}
	return text, nil
}

func plan(cfg Config, labels string) *libvirtxml.Domain {
	return &libvirtxml.Domain{
		Type:       virtType(cfg.Accel),
		Name:       cfg.Name,
		UUID:       cfg.UUID,
		GenID:      &libvirtxml.DomainGenID{},
		Metadata:   &libvirtxml.DomainMetadata{XML: labels},
		Memory:     &libvirtxml.DomainMemory{Value: uint(cfg.MemoryMB), Unit: "MiB"},
		VCPU:       &libvirtxml.DomainVCPU{Placement: "static", Value: uint(cfg.VCPUs)},
		OS:         planOS(cfg),
		Features:   planFeatures(cfg),
		CPU:        planCPU(cfg.Accel),
		Clock:      planClock(),
		OnPoweroff: "destroy",
		OnReboot:   "restart",
		// A machine that reports a panic stops where it is, with its memory, so that evidence can be taken; the lab
		// destroys it like any other.
		OnCrash:         "preserve",
		Devices:         planDevices(cfg),
		QEMUCommandline: planArguments(cfg),
	}
}

func virtType(accel string) string {
	if accel == AccelKVM {
		return "kvm"
	}
	return "qemu"
}

func planOS(cfg Config) *libvirtxml.DomainOS {
	out := &libvirtxml.DomainOS{
		Type:    &libvirtxml.DomainOSType{Arch: archX86, Machine: "q35", Type: "hvm"},
		Kernel:  cfg.Kernel,
		Initrd:  cfg.Initrd,
		Cmdline: planCmdline(cfg),
	}
	if cfg.Kernel == "" {
		out.BootDevices = []libvirtxml.DomainBootDevice{{Dev: "hd"}}
	}
	switch {
	case cfg.Firmware.Kind == FirmwareUEFI:
		out.Loader = &libvirtxml.DomainLoader{Path: cfg.Firmware.Code, Readonly: "yes", Type: "pflash"}
		out.NVRam = &libvirtxml.DomainNVRam{NVRam: cfg.Firmware.Vars, Template: cfg.Firmware.VarsTemplate}
	case cfg.Kernel == "":
		// There is no display: without this nobody would see the loader, nor that the BIOS found none. UEFI writes to the
		// serial port by itself.
		out.BIOS = &libvirtxml.DomainBIOS{UseSerial: "yes"}
	}
	return out
}

// planCmdline has an emulated guest place programs and libraries at the same addresses each time (norandmaps,
// Documentation/admin-guide/kernel-parameters.txt; the sysctl is kernel.randomize_va_space). QEMU 7.2 translates what lies elsewhere
// anew, for each process: of the work of starting a program that is more than half. A command over SSH takes 41 ms of a processor
// instead of 110.
func planCmdline(cfg Config) string {
	if cfg.Accel == AccelKVM || cfg.Kernel == "" {
		return cfg.Cmdline
	}
	return strings.TrimSpace(cfg.Cmdline + " norandmaps")
}

// planFeatures leaves out what costs time without KVM and serves no guest of ours: system management mode, which only
// secure boot needs, and VMware's port.
func planFeatures(cfg Config) *libvirtxml.DomainFeatureList {
	out := &libvirtxml.DomainFeatureList{
		ACPI:   &libvirtxml.DomainFeature{},
		APIC:   &libvirtxml.DomainFeatureAPIC{},
		VMPort: &libvirtxml.DomainFeatureState{State: "off"},
		SMM:    &libvirtxml.DomainFeatureSMM{State: "off"},
	}
	if cfg.Accel != AccelKVM {
		cache := libvirtxml.DomainFeatureTCGTBCache{Unit: "MiB", Size: uint(translationsMB(cfg.MemoryMB))}
		out.TCG = &libvirtxml.DomainFeatureTCG{TBCache: &cache}
	}
	return out
}

// translationsMB is how much translated code of the guest QEMU keeps without KVM, in MiB. It fills what it may have, by
// itself 1 GiB: a machine of 512 MiB has taken 1.3 GB by the end of its boot. A quarter of that boots it as fast (an
// eighth a tenth slower, a thirty-second half as fast); larger machines run more programs.
func translationsMB(memoryMB int) int { return min(max(memoryMB/2, 256), 1024) }

// planCPU gives the guest all that the accelerator can do. Snapshots do not travel between hosts, so nothing asks for
// a CPU that others have too. But what an emulated one says of its string instructions (ERMS) is not so: QEMU copies byte
// by byte where they are used for their speed. Without, kernel and libraries copy words, and twice as fast. FSRM goes with it: QEMU 8
// and later know it, and a kernel that finds it without ERMS hangs before its first word.
func planCPU(accel string) *libvirtxml.DomainCPU {
	if accel == AccelKVM {
		return &libvirtxml.DomainCPU{Mode: "host-passthrough", Check: "none"}
	}
	return &libvirtxml.DomainCPU{
		Mode: "maximum", Check: "none", Features: []libvirtxml.DomainCPUFeature{{Policy: "disable", Name: "erms"}, {Policy: "disable", Name: "fsrm"}},
	}
}

func planClock() *libvirtxml.DomainClock {
	return &libvirtxml.DomainClock{Offset: "utc", Timer: []libvirtxml.DomainTimer{{Name: "hpet", Present: "no"}}}
}
