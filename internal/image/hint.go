package image

import (
	"fmt"
	"strings"
)

// packager is how a family of distributions installs a package; files name the package that brings a tool where it is not the
// tool's own name.
type packager struct {
	ids   []string
	cmd   string
	names map[string]string
}

func packagers() []packager {
	return []packager{
		{[]string{"debian", "ubuntu"}, "sudo apt-get install", map[string]string{
			"qemu-img": "qemu-utils", "mke2fs": "e2fsprogs", "newuidmap": "uidmap", "unshare": "util-linux",
		}},
		{[]string{"fedora", "rhel", "centos"}, "sudo dnf install", map[string]string{
			"mke2fs": "e2fsprogs", "newuidmap": "shadow-utils", "unshare": "util-linux", "dpkg-query": "dpkg",
			"debian-archive-keyring": "debian-keyring",
		}},
		{[]string{"arch"}, "sudo pacman -S", map[string]string{
			"mke2fs": "e2fsprogs", "newuidmap": "shadow", "unshare": "util-linux", "dpkg-query": "dpkg",
		}},
		{[]string{"suse", "opensuse"}, "sudo zypper install", map[string]string{
			"qemu-img": "qemu-tools", "mke2fs": "e2fsprogs", "newuidmap": "shadow", "unshare": "util-linux", "dpkg-query": "dpkg",
		}},
	}
}

// installHint says how to install a tool on the distribution that osRelease (os-release(5)) describes.
func installHint(tool, osRelease string) string {
	like := strings.Fields(strings.NewReplacer(`"`, "", "'", "").Replace(osField(osRelease, "ID") + " " + osField(osRelease, "ID_LIKE")))
	for _, p := range packagers() {
		for _, id := range p.ids {
			for _, have := range like {
				if have == id {
					return p.cmd + " " + p.name(tool)
				}
			}
		}
	}
	return fmt.Sprintf("install the package that brings it (%s on Debian)", packagers()[0].name(tool))
}

func (p packager) name(tool string) string {
	if name, ok := p.names[tool]; ok {
		return name
	}
	return tool
}

func osField(osRelease, key string) string {
	for line := range strings.Lines(osRelease) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return value
		}
	}
	return ""
}
