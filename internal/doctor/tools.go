package doctor

import (
	"context"
	"fmt"
	"strings"
)

// tool is a program that must be there, and how it tells its version.
type tool struct {
	program string
	flag    string
	// least is the oldest version that will do, with its reason; nil when any will.
	least  version
	reason string
	// missing is the status without the program, why what is lost then.
	missing Status
	why     string
}

func (t tool) check(ctx context.Context, e exam) Check {
	path, err := e.Host.LookPath(t.program)
	if err != nil {
		return Check{
			Status: t.missing, Detail: fmt.Sprintf("%s is not installed: %s", t.program, t.why),
			Remedy: e.install(t.program),
		}
	}
	text, err := e.Host.Output(ctx, path, t.flag)
	found, understood := versionIn(text)
	switch {
	case err != nil:
		return Check{
			Status: Fail, Detail: fmt.Sprintf("%s %s: %v: %s", path, t.flag, err, firstLine(text)),
			Remedy: "reinstall it; " + e.install(t.program),
		}
	case !understood && t.least != nil:
		return Check{
			Status: Warn, Detail: fmt.Sprintf("%s tells no version: %q", path, firstLine(text)),
			Remedy: fmt.Sprintf("make sure that it is %s or newer: %s", t.least, t.reason),
		}
	case !understood:
		return ok("%s", path)
	case found.less(t.least):
		return Check{
			Status: Fail, Detail: fmt.Sprintf("%s is %s; %s or newer is needed: %s", path, found, t.least, t.reason),
			Remedy: fmt.Sprintf("upgrade it (Debian 12, Ubuntu 24.04 and later have it); %s", e.install(t.program)),
		}
	}
	return ok("%s (%s)", found, path)
}

func qemu(ctx context.Context, e exam) Check {
	return tool{
		program: "qemu-system-x86_64", flag: "--version", least: version{7, 2}, missing: Fail,
		reason: "it is the first with -netdev stream, which the fabric speaks",
		why:    "it runs the machines",
	}.check(ctx, e)
}

func qemuImg(ctx context.Context, e exam) Check {
	return tool{program: "qemu-img", flag: "--version", missing: Fail, why: "it makes images and overlays"}.check(ctx, e)
}

// libvirtd also looks for the QEMU driver, which is a package of its own on some distributions.
func libvirtd(ctx context.Context, e exam) Check {
	check := tool{
		program: "libvirtd", flag: "--version", least: version{8, 0}, missing: Fail,
		reason: "older ones were never tried",
		why:    "each lab runs its own",
	}.check(ctx, e)
	if check.Status != OK {
		return check
	}
	const driver = "libvirt/connection-driver/libvirt_driver_qemu.so"
	for _, pattern := range []string{"/usr/lib/*/", "/usr/lib64/", "/usr/lib/", "/usr/local/lib*/"} {
		if found, err := e.Host.Glob(pattern + driver); err == nil && len(found) > 0 {
			return check
		}
	}
	check.Status = Warn
	check.Detail += "; its QEMU driver is in none of the usual folders"
	check.Remedy = e.install("libvirtd")
	return check
}

func tini(ctx context.Context, e exam) Check {
	return tool{
		program: "tini", flag: "--version", missing: Fail,
		why: "libvirtd runs under it, because libvirt waits for seconds where PID 1 reaps late",
	}.check(ctx, e)
}

func mmdebstrap(ctx context.Context, e exam) Check {
	return tool{
		program: "mmdebstrap", flag: "--version", missing: Fail,
		why: "it builds Debian images; without it only imported and downloaded images work",
	}.check(ctx, e)
}

func mke2fs(ctx context.Context, e exam) Check {
	return tool{
		program: "mke2fs", flag: "-V", least: version{1, 43}, missing: Fail,
		reason: "it is the first that fills a file system from a tree (-d)",
		why:    "it makes the disks of built images",
	}.check(ctx, e)
}

func sshClient(ctx context.Context, e exam) Check {
	return tool{
		program: "ssh", flag: "-V", missing: Warn,
		why: "labtest ssh and plain ssh -F need it; specs do not",
	}.check(ctx, e)
}

// netcat must be OpenBSD's or nmap's: the traditional one knows no unix sockets.
func netcat(ctx context.Context, e exam) Check {
	path, err := e.Host.LookPath("nc")
	if err != nil {
		return Check{
			Status: Warn, Detail: "nc is not installed: plain ssh -F, scp and rsync reach nodes through it; specs do not",
			Remedy: e.install("nc"),
		}
	}
	// Some versions exit with 1 after their usage text, so only the text counts.
	text, _ := e.Host.Output(ctx, path, "-h")
	if !strings.Contains(text, "-U") {
		return Check{
			Status: Warn, Detail: path + " knows no unix sockets (-U): plain ssh -F, scp and rsync do not reach nodes",
			Remedy: e.install("nc"),
		}
	}
	return ok("%s", path)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
