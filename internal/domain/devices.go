package domain

import (
	"fmt"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// MaxNICs is how many NICs a domain may have: the PCI slots 0x10 to 0x1b, which libvirt, filling from below and putting
// the chipset's own devices above, leaves alone.
const MaxNICs = 12

const firstNICSlot = 0x10

const defaultMTU = 1500

// AgentChannel is the name by which the guest agent finds its channel.
const AgentChannel = "org.qemu.guest_agent.0"

func planDevices(cfg Config) *libvirtxml.DomainDeviceList {
	out := &libvirtxml.DomainDeviceList{
		Emulator: cfg.Emulator,
		Disks:    []libvirtxml.DomainDisk{rootDisk(cfg.Disk)},
		// Without these two libvirt adds a USB controller and a balloon of its own.
		Controllers: []libvirtxml.DomainController{{Type: "usb", Model: "none"}},
		MemBalloon:  &libvirtxml.DomainMemBalloon{Model: "none"},
		Serials:     []libvirtxml.DomainSerial{serialPort(cfg.Console)},
		RNGs: []libvirtxml.DomainRNG{{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}},
		Panics: []libvirtxml.DomainPanic{{Model: "isa"}},
	}
	if cfg.Seed != "" {
		out.Disks = append(out.Disks, seedDisk(cfg.Seed))
	}
	if cfg.Agent != "" {
		out.Channels = []libvirtxml.DomainChannel{{
			Source: listen(cfg.Agent),
			Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: AgentChannel}},
		}}
	}
	return out
}

// rootDisk never flushes to the host's disk: a lab does not outlive a crash of its host.
func rootDisk(disk Disk) libvirtxml.DomainDisk {
	return libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{
			Name: "qemu", Type: disk.Format, Cache: "unsafe", Discard: "unmap", DetectZeros: "off",
		},
		Source: file(disk.Path),
		Target: &libvirtxml.DomainDiskTarget{Dev: "vda", Bus: "virtio"},
	}
}

// seedDisk is a plain disk and no CD: cloud-init looks for a label on any block device, and so the guest needs no
// driver but the root disk's.
func seedDisk(path string) libvirtxml.DomainDisk {
	return libvirtxml.DomainDisk{
		Device:   "disk",
		Driver:   &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"},
		Source:   file(path),
		Target:   &libvirtxml.DomainDiskTarget{Dev: "vdb", Bus: "virtio"},
		ReadOnly: &libvirtxml.DomainDiskReadOnly{},
	}
}

func file(path string) *libvirtxml.DomainDiskSource {
	return &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}}
}

func serialPort(console Console) libvirtxml.DomainSerial {
	port := uint(0)
	return libvirtxml.DomainSerial{
		Source: listen(console.Socket),
		Log:    &libvirtxml.DomainChardevLog{File: console.Log, Append: "on"},
		Target: &libvirtxml.DomainSerialTarget{
			Type: "isa-serial", Port: &port, Model: &libvirtxml.DomainSerialTargetModel{Name: "isa-serial"},
		},
	}
}

func listen(socket string) *libvirtxml.DomainChardevSource {
	return &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind", Path: socket}}
}

// planArguments is what goes past libvirt to QEMU.
func planArguments(cfg Config) *libvirtxml.DomainQEMUCommandline {
	args := append(planNICs(cfg.NICs), MapMemory(cfg.Memory, cfg.MemoryMB)...)
	if len(args) == 0 {
		return nil
	}
	out := &libvirtxml.DomainQEMUCommandline{}
	for _, arg := range args {
		out.Args = append(out.Args, libvirtxml.DomainQEMUCommandlineArg{Value: arg})
	}
	return out
}

// The names of the guest's memory in QEMU: the one that libvirt gives it, and that of an image.
const (
	LibvirtMemory = "pc.ram"
	ImageMemory   = "lab.ram"
)

// MapMemory are QEMU's arguments that take the guest's memory, in MiB, from an image; none without an image. libvirt has files as memory too, but in folders of its own making. QEMU merges
// the option with libvirt's; the memory that libvirt made is not used, and takes none of the host's.
func MapMemory(image string, sizeMB int) []string {
	if image == "" {
		return nil
	}
	return []string{
		"-object", fmt.Sprintf("memory-backend-file,id=%s,size=%dM,share=off,mem-path=%s", ImageMemory, sizeMB, escapeOption(image)),
		"-machine", "memory-backend=" + ImageMemory,
	}
}

// planNICs uses QEMU's stream netdev, which libvirt as of version 9 does not know.
func planNICs(nics []NIC) (args []string) {
	for i, nic := range nics {
		netdev := fmt.Sprintf("stream,id=lab%d,server=off,addr.type=unix,addr.path=%s", i, escapeOption(nic.Socket))
		// The empty romfile saves the network boot ROM, which not every host has installed.
		device := fmt.Sprintf("virtio-net-pci,netdev=lab%d,id=nic%d,mac=%s,bus=pcie.0,addr=0x%x,romfile=",
			i, i, strings.ToLower(nic.MAC), firstNICSlot+i)
		if nic.MTU != 0 && nic.MTU != defaultMTU {
			device += ",host_mtu=" + strconv.Itoa(nic.MTU)
		}
		args = append(args, "-netdev", netdev, "-device", device)
	}
	return args
}

// escapeOption doubles commas, which end a value in QEMU's options.
func escapeOption(value string) string { return strings.ReplaceAll(value, ",", ",,") }
