package doctor_test

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"ionlab/internal/doctor"
)

// machine is a made-up host on which every check is ok. Tests take one thing away.
type machine struct {
	uid      int
	programs map[string]string // the output of each installed program
	files    map[string]string
	failing  map[string]error // programs, devices, folders, users and URLs that answer with an error
	free     uint64
}

func healthy() *machine {
	return &machine{
		uid: 1000,
		programs: map[string]string{
			"qemu-system-x86_64": "QEMU emulator version 8.2.2 (Debian 1:8.2.2)\nCopyright (c) 2003-2023",
			"qemu-img":           "qemu-img version 8.2.2 (Debian 1:8.2.2)",
			"libvirtd":           "libvirtd (libvirt) 10.0.0",
			"tini":               "tini version 0.19.0",
			"unshare":            "",
			"newuidmap":          "",
			"mmdebstrap":         "mmdebstrap 1.4.3",
			"mke2fs":             "mke2fs 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library version 1.47.0",
			"nc":                 "usage: nc [-46CDdFhklNnrStUuvZz]\n\t\t-U\t\tUse UNIX domain socket",
			"ssh":                "OpenSSH_9.6p1 Debian-4, OpenSSL 3.2.1",
		},
		files: map[string]string{
			"/etc/os-release":              "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
			"/etc/subuid":                  "root:1:2\nalice:100000:65536\n",
			"/etc/subgid":                  "1000:100000:65536\n",
			"/proc/meminfo":                "MemTotal: 16000000 kB\nMemAvailable: 8388608 kB\n",
			"/etc/apt/sources.list":        "# deb http://old.example/debian x main\ndeb [arch=amd64] http://mirror.example/debian/ bookworm main\n",
			"/etc/apt/sources.list.d/x":    "Types: deb\nURIs: http://mirror.example/debian https://mirror.example/debian-security\n",
			"/etc/apt/sources.list.d/v":    "deb https://vendor.example/apt stable main\n",
			"/usr/lib/x/libvirt_driver.so": "",
		},
		failing: map[string]error{},
		free:    100 << 30,
	}
}

func (m *machine) config() doctor.Config {
	return doctor.Config{
		StateDir: "/home/alice/.local/state/labtest", CacheDir: "/home/alice/.cache/labtest", RunDir: "/run/user/1000/labtest",
		KVM:  func(context.Context) error { return m.failing["kvm"] },
		Host: m.host(),
	}
}

func (m *machine) host() doctor.Host {
	return doctor.Host{
		User: func() (int, string) {
			if m.uid == 0 {
				return 0, "root"
			}
			return m.uid, "alice"
		},
		LookPath:   m.lookPath,
		Output:     m.output,
		ReadFile:   m.readFile,
		Glob:       m.glob,
		OpenDevice: func(path string) error { return m.failing[path] },
		KnowsUser:  func(name string) error { return m.failing[name] },
		Free:       func(dir string) (uint64, error) { return m.free, m.failing[dir] },
		Reach:      func(_ context.Context, address string) error { return m.failing[address] },
	}
}

func (m *machine) lookPath(program string) (string, error) {
	if _, installed := m.programs[program]; !installed {
		return "", errors.New("not found")
	}
	return "/usr/bin/" + program, nil
}

func (m *machine) output(_ context.Context, argv ...string) (string, error) {
	program := path.Base(argv[0])
	return m.programs[program], m.failing[program]
}

func (m *machine) readFile(path string) ([]byte, error) {
	if err := m.failing[path]; err != nil {
		return nil, err
	}
	content, there := m.files[path]
	if !there {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(content), nil
}

func (m *machine) glob(pattern string) ([]string, error) {
	var found []string
	switch {
	case strings.HasSuffix(pattern, "libvirt_driver_qemu.so") && strings.HasPrefix(pattern, "/usr/lib/*/"):
		if _, there := m.files["/usr/lib/x/libvirt_driver.so"]; there {
			found = append(found, "/usr/lib/x/libvirt_driver.so")
		}
	case strings.HasSuffix(pattern, "*.sources"):
		found = append(found, "/etc/apt/sources.list.d/x")
	case strings.HasSuffix(pattern, "*.list"):
		found = append(found, "/etc/apt/sources.list.d/v")
	}
	return found, nil
}
