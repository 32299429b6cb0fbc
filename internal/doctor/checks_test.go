package doctor_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/doctor"
)

// Each row breaks one thing on a healthy host and reads the check's answer.
func TestFindings(t *testing.T) {
	const (
		warn, fail = doctor.Warn, doctor.Fail
		fedora     = "NAME=Fedora\nID=fedora\nPRETTY_NAME='Fedora Linux 41'\n"
		mint       = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"
	)
	refused := errors.New("exit status 1")
	for _, test := range []struct {
		name           string
		breakIt        func(*machine)
		check          string
		status         doctor.Status
		detail, remedy string
	}{
		{
			"Fedora", func(m *machine) { m.files["/etc/os-release"] = fedora },
			"distribution", warn, "Fedora Linux 41: make setup installs nothing here", "make setup names the packages",
		},
		{
			"no os-release", func(m *machine) { delete(m.files, "/etc/os-release") },
			"distribution", warn, "a system without os-release", "Debian 12",
		},
		{
			"no device", func(m *machine) { m.failing["/dev/kvm"] = &fs.PathError{Err: fs.ErrNotExist} },
			"kvm", warn, "there is no /dev/kvm: machines are emulated (TCG)", "sudo modprobe kvm_intel",
		},
		{
			"no right", func(m *machine) { m.failing["/dev/kvm"] = &fs.PathError{Err: fs.ErrPermission} },
			"kvm", warn, "alice may not open /dev/kvm", "sudo usermod -aG kvm alice, then log in again",
		},
		{
			"another error", func(m *machine) { m.failing["/dev/kvm"] = errors.New("no such device or address") },
			"kvm", warn, "no such device or address: machines are emulated", "dmesg | grep -i kvm",
		},
		{
			"a device that runs nothing", func(m *machine) { m.failing["kvm"] = errors.New("the guest spun for 5s") },
			"kvm", warn, "/dev/kvm is there, but not used: the guest spun for 5s", "nested virtualization",
		},
		{
			"no QEMU", func(m *machine) { delete(m.programs, "qemu-system-x86_64") },
			"qemu", fail, "qemu-system-x86_64 is not installed", "sudo apt-get install --no-install-recommends qemu-system-x86",
		},
		{
			"no QEMU as root", func(m *machine) { delete(m.programs, "qemu-system-x86_64"); m.uid = 0 },
			"qemu", fail, "qemu-system-x86_64 is not installed", "make setup, or: apt-get install",
		},
		{
			"no QEMU on Fedora", func(m *machine) {
				delete(m.programs, "qemu-system-x86_64")
				m.files["/etc/os-release"] = fedora
			},
			"qemu", fail, "is not installed", "sudo dnf install qemu-system-x86-core",
		},
		{
			"no QEMU on a relative of Ubuntu", func(m *machine) {
				delete(m.programs, "qemu-system-x86_64")
				m.files["/etc/os-release"] = mint
			},
			"qemu", fail, "is not installed", "sudo apt-get install",
		},
		{
			"no QEMU on Arch", func(m *machine) {
				delete(m.programs, "qemu-system-x86_64")
				m.files["/etc/os-release"] = "ID=arch\n"
			},
			"qemu", fail, "is not installed", "sudo pacman -S qemu-system-x86",
		},
		{
			"no QEMU on openSUSE", func(m *machine) {
				delete(m.programs, "qemu-system-x86_64")
				m.files["/etc/os-release"] = "ID=opensuse-tumbleweed\n"
			},
			"qemu", fail, "is not installed", "sudo zypper install qemu-x86",
		},
		{
			"no QEMU on something else", func(m *machine) {
				delete(m.programs, "qemu-system-x86_64")
				m.files["/etc/os-release"] = "ID=plan9\n"
			},
			"qemu", fail, "is not installed", "install the package of your distribution that has qemu-system-x86_64",
		},
		{
			"Ubuntu 22.04's QEMU", func(m *machine) { m.programs["qemu-system-x86_64"] = "QEMU emulator version 6.2.0" },
			"qemu", fail, "is 6.2.0; 7.2 or newer is needed: it is the first with -netdev stream", "Ubuntu 24.04",
		},
		{
			"QEMU does not start", func(m *machine) {
				m.programs["qemu-system-x86_64"] = "libaio.so.1: cannot open"
				m.failing["qemu-system-x86_64"] = refused
			},
			"qemu", fail, "--version: exit status 1: libaio.so.1: cannot open", "reinstall it",
		},
		{
			"QEMU without a version", func(m *machine) { m.programs["qemu-system-x86_64"] = "hello" },
			"qemu", warn, `tells no version: "hello"`, "7.2 or newer",
		},
		{
			"no qemu-img", func(m *machine) { delete(m.programs, "qemu-img") },
			"qemu-img", fail, "it makes images and overlays", "qemu-utils",
		},
		{
			"no libvirtd", func(m *machine) { delete(m.programs, "libvirtd") },
			"libvirtd", fail, "each lab runs its own", "libvirt-daemon libvirt-daemon-driver-qemu",
		},
		{
			"an old libvirtd", func(m *machine) { m.programs["libvirtd"] = "libvirtd (libvirt) 7.0.0" },
			"libvirtd", fail, "is 7.0.0; 8.0 or newer is needed", "upgrade",
		},
		{
			"no QEMU driver", func(m *machine) { delete(m.files, "/usr/lib/x/libvirt_driver.so") },
			"libvirtd", warn, "its QEMU driver is in none of the usual folders", "libvirt-daemon-driver-qemu",
		},
		{
			"no tini", func(m *machine) { delete(m.programs, "tini") },
			"tini", fail, "PID 1 reaps late", "tini",
		},
		{
			"no unshare", func(m *machine) { delete(m.programs, "unshare") },
			"namespaces", fail, "libvirtd is started through it", "util-linux",
		},
		{
			"Ubuntu 24.04's AppArmor", func(m *machine) {
				m.failing["unshare"] = refused
				m.programs["unshare"] = "unshare: write failed /proc/self/uid_map: Operation not permitted"
				m.files["/proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = "1\n"
			},
			"namespaces", warn, "uid_map: Operation not permitted: a killed lab's machines stay until labtest gc",
			"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
		},
		{
			"an old Debian kernel", func(m *machine) {
				m.failing["unshare"] = refused
				m.files["/proc/sys/kernel/unprivileged_userns_clone"] = "0\n"
			},
			"namespaces", warn, "-U --map-current-user -p -f --kill-child=SIGKILL --mount-proc true: exit status 1",
			"sudo sysctl -w kernel.unprivileged_userns_clone=1",
		},
		{
			"namespaces limited to none", func(m *machine) {
				m.failing["unshare"] = refused
				m.files["/proc/sys/user/max_user_namespaces"] = "0\n"
			},
			"namespaces", warn, "exit status 1", "user.max_user_namespaces=10000",
		},
		{
			"a container", func(m *machine) { m.failing["unshare"] = refused; m.uid = 0 },
			"namespaces", warn, "setpriv --reuid=65534", "seccomp",
		},
		{
			"no newuidmap", func(m *machine) { delete(m.programs, "newuidmap") },
			"subordinate ids", fail, "newuidmap is not installed", "uidmap",
		},
		{
			"no range", func(m *machine) { m.files["/etc/subuid"] = "bob:100000:65536\n" },
			"subordinate ids", fail, "/etc/subuid gives alice no 65536 ids", "usermod --add-subuids 100000-165535",
		},
		{
			"no file of groups", func(m *machine) { delete(m.files, "/etc/subgid") },
			"subordinate ids", fail, "/etc/subgid gives alice no 65536 ids", "--add-subgids",
		},
		{
			"too short a range", func(m *machine) { m.files["/etc/subgid"] = "alice:100000:1000\nalice:x:y:z\n" },
			"subordinate ids", fail, "/etc/subgid gives alice", "--add-subgids",
		},
		{
			"an unreadable file", func(m *machine) { m.failing["/etc/subuid"] = errors.New("open /etc/subuid: permission denied") },
			"subordinate ids", fail, "permission denied", "chmod 644 /etc/subuid",
		},
		{
			"no mmdebstrap", func(m *machine) { delete(m.programs, "mmdebstrap") },
			"mmdebstrap", fail, "without it only imported and downloaded images work", "mmdebstrap",
		},
		{
			"no mke2fs", func(m *machine) { delete(m.programs, "mke2fs") },
			"mke2fs", fail, "it makes the disks of built images", "e2fsprogs",
		},
		{
			"an old mke2fs", func(m *machine) { m.programs["mke2fs"] = "mke2fs 1.42.13 (17-May-2015)" },
			"mke2fs", fail, "is 1.42.13; 1.43 or newer is needed: it is the first that fills", "upgrade",
		},
		{
			"no ssh", func(m *machine) { delete(m.programs, "ssh") },
			"ssh", warn, "specs do not", "openssh-client",
		},
		{
			"no nc", func(m *machine) { delete(m.programs, "nc") },
			"nc", warn, "plain ssh -F, scp and rsync reach nodes through it", "netcat-openbsd",
		},
		{
			"the traditional nc", func(m *machine) { m.programs["nc"] = "[v1.10-47]\nconnect to somewhere" },
			"nc", warn, "knows no unix sockets (-U)", "netcat-openbsd",
		},
		{
			"hardly any memory", func(m *machine) { m.files["/proc/meminfo"] = "MemAvailable: 512000 kB\n" },
			"memory", fail, "500 MiB available: too little", "free memory",
		},
		{
			"little memory", func(m *machine) { m.files["/proc/meminfo"] = "MemAvailable: 2097152 kB\n" },
			"memory", warn, "2048 MiB available: enough for one or two", "memory_mb",
		},
		{
			"a container's limit", func(m *machine) {
				m.files["/sys/fs/cgroup/memory.max"] = "2147483648\n"
				m.files["/sys/fs/cgroup/memory.current"] = "1610612736\n"
			},
			"memory", fail, "512 MiB left within this control group's limit", "memory",
		},
		{
			"a container beyond its limit", func(m *machine) {
				m.files["/sys/fs/cgroup/memory.max"] = "1000\n"
				m.files["/sys/fs/cgroup/memory.current"] = "2000\n"
			},
			"memory", fail, "0 MiB left", "memory",
		},
		{
			"no /proc", func(m *machine) { delete(m.files, "/proc/meminfo") },
			"memory", warn, "/proc/meminfo", "mount /proc",
		},
		{
			"an old kernel", func(m *machine) { m.files["/proc/meminfo"] = "MemTotal: 1 kB\n" },
			"memory", warn, "no MemAvailable", "Linux 3.14",
		},
		{
			"a full disk", func(m *machine) { m.free = 1 << 29 },
			"state folder", fail, "/labtest (disks of running labs): 0.5 GiB free", "labtest gc",
		},
		{
			"a nearly full disk", func(m *machine) { m.free = 2 << 30 },
			"cache folder", warn, "/labtest (images and snapshots): 2.0 GiB free", "labtest image rm",
		},
		{
			"a read-only disk", func(m *machine) { m.failing["/home/alice/.cache/labtest"] = errors.New("read-only file system") },
			"cache folder", fail, "cannot be written to: read-only file system", "that alice may write to, or choose another by LABTEST_CACHE_DIR",
		},
		{
			"no run folder", func(m *machine) { m.failing["/run/user/1000/labtest"] = errors.New("permission denied") },
			"run folder", fail, "(sockets) cannot be written to: permission denied", "LABTEST_RUN_DIR",
		},
		{
			"no network", func(m *machine) { m.failing["http://mirror.example/debian"] = errors.New("no such host") },
			"mirrors", warn, "not reached: http://mirror.example/debian: no such host", "http_proxy",
		},
	} {
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			g := NewWithT(t)
			m := healthy()
			test.breakIt(m)
			report := doctor.Run(t.Context(), m.config())
			check := find(report, test.check)
			g.Expect(check.Status).To(Equal(test.status), check.Detail)
			g.Expect(check.Detail).To(ContainSubstring(test.detail))
			g.Expect(check.Remedy).To(ContainSubstring(test.remedy))
			g.Expect(report.Status).NotTo(Equal(doctor.OK))
		})
	}
}

func TestRunFolderMustBeShort(t *testing.T) {
	g := NewWithT(t)
	config := healthy().config()
	config.RunDir = "/" + strings.Repeat("x", 36)
	g.Expect(find(doctor.Run(t.Context(), config), "run folder").Status).To(Equal(doctor.OK))
	config.RunDir += "x"
	check := find(doctor.Run(t.Context(), config), "run folder")
	g.Expect(check.Status).To(Equal(doctor.Fail))
	g.Expect(check.Detail).To(ContainSubstring("has 38 bytes; with more than 37"))
	g.Expect(check.Remedy).To(ContainSubstring("LABTEST_RUN_DIR"))
}

func TestMirrorsAreTheDistributions(t *testing.T) {
	g := NewWithT(t)
	m := healthy()
	check := find(doctor.Run(t.Context(), m.config()), "mirrors")
	g.Expect(check.Detail).To(Equal("reached: http://mirror.example/debian, https://mirror.example/debian-security"))

	m.files = map[string]string{"/etc/os-release": m.files["/etc/os-release"]}
	check = find(doctor.Run(t.Context(), m.config()), "mirrors")
	g.Expect(check.Detail).To(Equal("reached: http://deb.debian.org/debian"))

	config := m.config()
	config.Mirrors = []string{"http://chosen.example"}
	g.Expect(find(doctor.Run(t.Context(), config), "mirrors").Detail).To(Equal("reached: http://chosen.example"))
}

func TestKVMWithoutAProbeSaysSo(t *testing.T) {
	g := NewWithT(t)
	config := healthy().config()
	config.KVM = nil
	check := find(doctor.Run(t.Context(), config), "kvm")
	g.Expect(check.Status).To(Equal(doctor.OK))
	g.Expect(check.Detail).To(ContainSubstring("whether a kernel runs was not tried"))
}
