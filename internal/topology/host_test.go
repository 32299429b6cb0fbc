package topology_test

import (
	"debug/elf"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// program returns the first bytes of an ELF file for a machine.
func program(machine elf.Machine, order binary.AppendByteOrder) []byte {
	header := make([]byte, 18)
	copy(header, elf.ELFMAG)
	header[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	if order.String() == binary.BigEndian.String() {
		header[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
	}
	return order.AppendUint16(header, uint16(machine))
}

func loadFrom(g *WithT, dir, yaml string) *topology.Topology {
	file := filepath.Join(dir, "t.yaml")
	g.Expect(os.WriteFile(file, []byte(yaml), 0o600)).To(Succeed())
	loaded, err := topology.Load(file)
	g.Expect(err).NotTo(HaveOccurred())
	return loaded
}

func TestCheckHostMemoryAndDisk(t *testing.T) {
	const yaml = "nodes:\n  - {name: a, count: 3, memory_mb: 1000}\n  - {name: b, memory_mb: 500.5, disk_gb: 4000}\n"
	images := []string{"debian-12"}
	for name, c := range map[string]struct {
		host topology.Host
		want []string
	}{
		"enough":             {topology.Host{MemoryMB: 3501, DiskFreeMB: 2048, Images: images}, nil},
		"nothing is known":   {topology.Host{Images: images}, nil},
		"too little memory":  {topology.Host{MemoryMB: 3500, Images: images}, []string{"t.yaml:2:3: nodes: the nodes need 3501 MiB of memory together, the host has 3500; lower memory_mb or count"}},
		"hardly any disk":    {topology.Host{DiskFreeMB: 2047, Images: images}, []string{"4 nodes need at least 2048 MiB of disk, 2047 are free; free some space"}},
		"both":               {topology.Host{MemoryMB: 1, DiskFreeMB: 1, Images: images}, []string{"MiB of memory", "MiB of disk"}},
		"image not in there": {topology.Host{Images: []string{"debian-13", "fedora-42"}}, []string{`nodes[0].image: "debian-12" is not an image of the catalog; did you mean debian-13? known are debian-13, fedora-42; labtest image import FILE adds one`}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := loadFrom(g, t.TempDir(), yaml).CheckHost(c.host)
			if c.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
			}
			for _, want := range c.want {
				g.Expect(err).To(MatchError(ContainSubstring(want)))
			}
		})
	}
}

func TestCheckHostImages(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "there.qcow2"), nil, 0o600)).To(Succeed())
	g.Expect(os.Mkdir(filepath.Join(dir, "folder.img"), 0o700)).To(Succeed())
	digest := strings.Repeat("0", 64)
	err := loadFrom(g, dir, `nodes:
  - {name: a, image: known}
  - {name: b, image: ./there.qcow2}
  - {name: c, image: "https://example.org/x.img#sha256=`+digest+`"}
  - {name: d, image: "https://example.org/x.img#sha512=`+digest+digest+`"}
  - {name: e, image: missing.qcow2}
  - {name: f, image: folder.img}
  - {name: g, image: knwon}
`).CheckHost(topology.Host{Images: []string{"known"}})
	g.Expect(strings.Split(err.Error(), "\n")).To(HaveExactElements(
		MatchRegexp(`t\.yaml:6:22: nodes\[4\]\.image: the image file "/.*/missing.qcow2" cannot be read: no such file or directory; correct the path`),
		MatchRegexp(`t\.yaml:7:22: nodes\[5\]\.image: "/.*/folder.img" is not a file; name the image file`),
		HaveSuffix(`t.yaml:8:22: nodes[6].image: "knwon" is not an image of the catalog; did you mean known? known are known; labtest image import FILE adds one`),
	))
}

func TestCheckHostArchitecture(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"amd64": program(elf.EM_X86_64, binary.LittleEndian), "arm64": program(elf.EM_AARCH64, binary.LittleEndian),
		"i386": program(elf.EM_386, binary.LittleEndian), "s390x": program(elf.EM_S390, binary.BigEndian),
		"script": []byte("#!/bin/sh\nexit 0 # and more\n"), "short": []byte(elf.ELFMAG),
	} {
		g.Expect(os.WriteFile(filepath.Join(dir, name), data, 0o600)).To(Succeed())
	}
	loaded := loadFrom(g, dir, `nodes:
  - name: a
    count: 2
    deploy:
      - {src: amd64, dest: /a}
      - {src: arm64, dest: /b}
      - {src: i386, dest: /c}
      - {src: s390x, dest: /d}
      - {src: script, dest: /e}
      - {src: short, dest: /f}
      - {src: missing, dest: /g}
      - {src: ., dest: /h}
`)
	images := []string{"debian-12"}
	for arch, want := range map[string][]string{
		"amd64": {"arm64", "s390x"}, "x86_64": {"arm64", "s390x"}, "aarch64": {"amd64", "i386", "s390x"}, "": nil, "vax": nil,
	} {
		err := loaded.CheckHost(topology.Host{Arch: arch, Images: images})
		if want == nil {
			g.Expect(err).NotTo(HaveOccurred(), arch)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		g.Expect(lines).To(HaveLen(len(want)), arch)
		for i, name := range want {
			g.Expect(lines[i]).To(MatchRegexp(`deploy\[\d\]\.src: ".*/`+name+`" is built for EM_\w+, the guest is `+arch+`; build it for `+arch), arch)
		}
	}
}

func TestCheckSources(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)).To(Succeed())
	t.Setenv("IONLAB_TEST_SET", filepath.Join(dir, "file"))
	t.Setenv("IONLAB_TEST_EMPTY", "")
	loaded := loadFrom(g, dir, `nodes:
  - name: a
    count: 2
    deploy:
      - {src: file, dest: /a}
      - {src: ., dest: /b}
      - {src: missing, dest: /c}
      - {src: /dev/null, dest: /d}
      - {src: file/below, dest: /e}
      - {src: "${IONLAB_TEST_SET}", dest: /f}
      - {src: "${IONLAB_TEST_UNSET}/${IONLAB_TEST_EMPTY}", dest: /g}
      - {src: "${IONLAB_TEST_UNSET:-file}", dest: /h}
      - {src: "${IONLAB_TEST_EMPTY:-}file", dest: /i}
`)
	g.Expect(loaded.Nodes[0].Deploy[5].Src).To(Equal(filepath.Join(dir, "file")))
	g.Expect(strings.Split(loaded.CheckSources().Error(), "\n")).To(HaveExactElements(
		MatchRegexp(`t\.yaml:7:15: nodes\[0\]\.deploy\[2\]\.src: "/.*/missing" does not exist; build it first, or correct src`),
		HaveSuffix(`t.yaml:8:15: nodes[0].deploy[3].src: "/dev/null" is neither a file nor a folder; name a regular file or a folder`),
		MatchRegexp(`t\.yaml:9:15: nodes\[0\]\.deploy\[4\]\.src: "/.*/file/below" cannot be read: not a directory; correct the rights or src`),
		HaveSuffix(`t.yaml:11:15: nodes[0].deploy[6].src: the variable IONLAB_TEST_UNSET, IONLAB_TEST_EMPTY is not set; `+
			`set it in the environment, or write a default as ${IONLAB_TEST_UNSET:-path}`),
	))
}

func TestCheckSourcesPassesWhatIsThere(t *testing.T) {
	g := NewWithT(t)
	loaded := loadFrom(g, t.TempDir(), "nodes: [{name: a, deploy: [{src: ., dest: /a, mode: 0700}]}]")
	g.Expect(loaded.CheckSources()).To(Succeed())
	g.Expect(loaded.Nodes[0].Deploy[0].Mode).To(Equal(fs.FileMode(0o700)))
}

func TestLoadNamesTheFileItCannotRead(t *testing.T) {
	g := NewWithT(t)
	_, err := topology.Load(filepath.Join(t.TempDir(), "missing.yaml"))
	g.Expect(err).To(MatchError(fs.ErrNotExist))
	g.Expect(err).To(MatchError(MatchRegexp("read topology: open .*missing.yaml: no such file")))
	_, err = topology.Load(t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring("is a directory")))
	large := filepath.Join(t.TempDir(), "large.yaml")
	g.Expect(os.WriteFile(large, make([]byte, 2<<20), 0o600)).To(Succeed())
	_, err = topology.Load(large)
	g.Expect(err).To(MatchError(ContainSubstring("large.yaml:1:1: the file has 1048577 bytes, the limit is 1048576; deploy large content as a file")))
}
