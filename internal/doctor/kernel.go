package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

func distribution(_ context.Context, e exam) Check {
	if e.distro.family != debian {
		return Check{
			Status: Warn, Detail: e.distro.name + ": make setup installs nothing here",
			Remedy: "make setup names the packages; labs are tried on Debian 12 and Ubuntu 24.04",
		}
	}
	return ok("%s", e.distro.name)
}

// kvm never fails: without it machines are emulated.
func kvm(ctx context.Context, e exam) Check {
	const device, emulated = "/dev/kvm", "machines are emulated (TCG), many times slower"
	err := e.Host.OpenDevice(device)
	_, name := e.Host.User()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Check{
			Status: Warn, Detail: "there is no " + device + ": " + emulated,
			Remedy: "switch on VT-x or AMD-V in the firmware, or nested virtualization in the hypervisor above this host; " +
				"then " + e.asRoot("modprobe kvm_intel") + " (or kvm_amd)",
		}
	case errors.Is(err, fs.ErrPermission):
		return Check{
			Status: Warn, Detail: name + " may not open " + device + ": " + emulated,
			Remedy: e.asRoot("usermod -aG kvm "+name) + ", then log in again",
		}
	case err != nil:
		return Check{Status: Warn, Detail: fmt.Sprintf("%v: %s", err, emulated), Remedy: "see the kernel log for kvm: dmesg | grep -i kvm"}
	case e.KVM == nil:
		return ok("%s opens; whether a kernel runs was not tried", device)
	}
	if err := e.KVM(ctx); err != nil {
		return Check{
			Status: Warn, Detail: fmt.Sprintf("%s is there, but not used: %v: %s", device, err, emulated),
			Remedy: "do what the reason asks for; if this host is itself a virtual machine, ask for nested virtualization; LABTEST_ACCEL=kvm forces a try",
		}
	}
	return ok("%s runs a kernel", device)
}

// qemuUser is for root only: QEMU never runs as root. Debian and its relatives call the user libvirt-qemu, others qemu.
func qemuUser(_ context.Context, e exam) Check {
	const name = "libvirt-qemu"
	cause := e.Host.KnowsUser(name)
	if cause == nil {
		return ok("machines run as %s", name)
	}
	if e.Host.KnowsUser("qemu") == nil {
		return ok("machines run as qemu")
	}
	return Check{
		Status: Fail, Detail: fmt.Sprintf("%v: machines of root run as it", cause),
		Remedy: "make setup, or: groupadd --system --force kvm && " +
			"useradd --system --gid kvm --no-create-home --home-dir /var/lib/libvirt --shell /usr/sbin/nologin " + name,
	}
}

// namespaces tries what the private libvirtd is started with.
func namespaces(ctx context.Context, e exam) Check {
	path, err := e.Host.LookPath("unshare")
	if err != nil {
		return Check{Status: Fail, Detail: "unshare is not installed: libvirtd is started through it", Remedy: e.install("unshare")}
	}
	argv := []string{path, "-U", "--map-current-user", "-p", "-f", "--kill-child=SIGKILL", "--mount-proc", "true"}
	if e.Host.root() {
		argv = []string{
			path, "-p", "-f", "--kill-child=SIGKILL", "--mount-proc",
			"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--pdeathsig", "KILL", "true",
		}
	}
	if text, err := e.Host.Output(ctx, argv...); err != nil {
		return Check{
			Status: Warn,
			Detail: fmt.Sprintf("%s: %v: %s: a killed lab's machines stay until labtest gc, and images cannot be built as a user",
				strings.Join(argv[1:], " "), err, firstLine(text)),
			Remedy: e.allowNamespaces(),
		}
	}
	return ok("a namespace of its own works: nothing outlives its lab")
}

// allowNamespaces names the switch that is off, where there is one.
func (e exam) allowNamespaces() string {
	for _, knob := range []struct{ path, off, on string }{
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "0"},
		{"kernel/unprivileged_userns_clone", "0", "1"},
		{"user/max_user_namespaces", "0", "10000"},
	} {
		value, err := e.Host.ReadFile("/proc/sys/" + knob.path)
		if err == nil && strings.TrimSpace(string(value)) == knob.off {
			return e.asRoot("sysctl -w " + strings.ReplaceAll(knob.path, "/", ".") + "=" + knob.on)
		}
	}
	return "allow unshare (in a container: its seccomp and AppArmor profile, or CAP_SYS_ADMIN), or run as root"
}

// subordinate is for users only: mmdebstrap maps a whole range of users into its namespace.
func subordinate(_ context.Context, e exam) Check {
	if _, err := e.Host.LookPath("newuidmap"); err != nil {
		return Check{
			Status: Fail, Detail: "newuidmap is not installed: images cannot be built as a user",
			Remedy: e.install("newuidmap"),
		}
	}
	uid, name := e.Host.User()
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		data, err := e.Host.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Check{Status: Fail, Detail: err.Error(), Remedy: "make it readable: " + e.asRoot("chmod 644 "+path)}
		}
		if !grants(string(data), uid, name) {
			return Check{
				Status: Fail, Detail: fmt.Sprintf("%s gives %s no 65536 ids: images cannot be built as a user", path, name),
				Remedy: e.asRoot("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "+name) +
					" (choose another range where that one is taken)",
			}
		}
	}
	return ok("%s has subordinate users and groups", name)
}

// grants reads subuid(5): NAME-OR-UID:FIRST:COUNT.
func grants(table string, uid int, name string) bool {
	const needed = 65536
	for line := range strings.Lines(table) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 3 || fields[0] != name && fields[0] != strconv.Itoa(uid) {
			continue
		}
		if count, err := strconv.Atoi(fields[2]); err == nil && count >= needed {
			return true
		}
	}
	return false
}
