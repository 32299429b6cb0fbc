package doctor

import (
	"fmt"
	"strings"
)

// family is a group of distributions that share a package manager and package names.
type family string

const (
	debian family = "debian"
	fedora family = "fedora"
	arch   family = "arch"
	suse   family = "suse"
	other  family = ""
)

// distro is what /etc/os-release says.
type distro struct {
	name   string
	family family
}

// readDistro follows os-release(5): ID, then ID_LIKE, name the family.
func readDistro(host Host) distro {
	data, err := host.ReadFile("/etc/os-release")
	if err != nil {
		data, err = host.ReadFile("/usr/lib/os-release")
	}
	if err != nil {
		return distro{name: "a system without os-release"}
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(data)) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found {
			fields[key] = strings.Trim(value, `"'`)
		}
	}
	found := distro{name: fields["PRETTY_NAME"]}
	if found.name == "" {
		found.name = fields["ID"]
	}
	for _, id := range strings.Fields(fields["ID"] + " " + fields["ID_LIKE"]) {
		if found.family = familyOf(id); found.family != other {
			break
		}
	}
	return found
}

func familyOf(id string) family {
	switch {
	case id == "debian", id == "ubuntu":
		return debian
	case id == "fedora", id == "rhel", id == "centos":
		return fedora
	case id == "arch":
		return arch
	case strings.Contains(id, "suse"):
		return suse
	}
	return other
}

// packageOf names the package that has a program, for each family.
func packageOf(program string, in family) string {
	type names = map[family]string
	table := map[string]names{
		"qemu-system-x86_64": {debian: "qemu-system-x86", fedora: "qemu-system-x86-core", arch: "qemu-system-x86", suse: "qemu-x86"},
		"qemu-img":           {debian: "qemu-utils", fedora: "qemu-img", arch: "qemu-img", suse: "qemu-img"},
		"libvirtd":           {debian: "libvirt-daemon libvirt-daemon-driver-qemu", fedora: "libvirt-daemon libvirt-daemon-driver-qemu", arch: "libvirt", suse: "libvirt-daemon libvirt-daemon-qemu"},
		"tini":               {debian: "tini", fedora: "tini", arch: "tini", suse: "tini"},
		"unshare":            {debian: "util-linux", fedora: "util-linux", arch: "util-linux", suse: "util-linux"},
		"newuidmap":          {debian: "uidmap", fedora: "shadow-utils", arch: "shadow", suse: "shadow"},
		"mmdebstrap":         {debian: "mmdebstrap", fedora: "mmdebstrap", arch: "mmdebstrap", suse: "mmdebstrap"},
		"mke2fs":             {debian: "e2fsprogs", fedora: "e2fsprogs", arch: "e2fsprogs", suse: "e2fsprogs"},
		"nc":                 {debian: "netcat-openbsd", fedora: "netcat", arch: "openbsd-netcat", suse: "netcat-openbsd"},
		"ssh":                {debian: "openssh-client", fedora: "openssh-clients", arch: "openssh", suse: "openssh-clients"},
	}
	return table[program][in]
}

// install says how to get a program.
func (e exam) install(program string) string {
	name := packageOf(program, e.distro.family)
	if name == "" {
		return fmt.Sprintf("install the package of your distribution that has %s", program)
	}
	var command string
	switch e.distro.family {
	case debian:
		command = "apt-get install --no-install-recommends "
	case fedora:
		command = "dnf install "
	case arch:
		command = "pacman -S "
	case suse:
		command = "zypper install "
	}
	remedy := e.asRoot(command + name)
	if e.distro.family == debian {
		remedy = "make setup, or: " + remedy
	}
	return remedy
}

// asRoot puts sudo before a command where it is needed.
func (e exam) asRoot(command string) string {
	if e.Host.root() {
		return command
	}
	return "sudo " + command
}
