package image

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// disk makes a file that the fake tools take for a disk.
func disk(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// gpt makes the beginning of a disk with these partition types.
func gpt(types ...[]byte) []byte {
	head := bootSector()
	copy(head[512:], "EFI PART")
	for i, guid := range types {
		copy(head[1024+128*i:], guid)
	}
	return head
}

func TestImport(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	img, err := s.Import(t.Context(), disk(t, "one"), ImportOptions{Name: "mine"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(img.Close()).To(Succeed())
	g.Expect(img.VirtualSize).To(Equal(int64(5 << 30)))
	g.Expect(img.Kernel).To(BeEmpty(), "it boots by its own loader")
	g.Expect(os.ReadFile(img.Disk)).To(BeEquivalentTo("one"))
	again := ensure(t, s, "mine", "jq")
	g.Expect(again.Digest).To(Equal(img.Digest))
	g.Expect(again.PackagesBaked).To(BeFalse(), "packages are the caller's")
	names, err := Names(s.cfg)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names).To(ContainElement("mine"))

	replaced, err := s.Import(t.Context(), disk(t, "two"), ImportOptions{Name: "mine", Firmware: UEFI})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(replaced.Close()).To(Succeed())
	g.Expect(replaced.Firmware).To(Equal(UEFI))
	g.Expect(replaced.Digest).NotTo(Equal(img.Digest))
}

func TestOneDiskForEitherFirmware(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	for name, firmware := range map[string]string{"old": BIOS, "new": UEFI} {
		img, err := s.Import(t.Context(), disk(t, "same"), ImportOptions{Name: name, Firmware: firmware})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(img.Close()).To(Succeed())
	}
	g.Expect(ensure(t, s, "old").Firmware).To(Equal(BIOS))
	g.Expect(ensure(t, s, "new").Firmware).To(Equal(UEFI))
}

func TestAnImportStandsInForACatalogImage(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	img, err := s.Import(t.Context(), disk(t, "jammy"), ImportOptions{Name: "ubuntu-22.04-cloudimg"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(img.Close()).To(Succeed())
	g.Expect(ensure(t, s, "ubuntu-22.04-cloudimg").Digest).To(Equal(img.Digest))
}

func TestADamagedImportIsNotGuessedAt(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	img, err := s.Import(t.Context(), disk(t, "one"), ImportOptions{Name: "mine"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(img.Close()).To(Succeed())
	g.Expect(os.RemoveAll(img.dir)).To(Succeed())
	_, err = s.Ensure(t.Context(), Request{Name: "mine"})
	g.Expect(err).To(MatchError(ContainSubstring("its files are gone; import it again (labtest image import FILE --name mine)")))
	list, err := s.List()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(list).To(ContainElement(And(HaveField("Name", "mine"), HaveField("Damaged", "its files are gone"))))
}

func TestImportRefusesWhatCannotStandAlone(t *testing.T) {
	iso := bootSector()
	copy(iso[0x8001:], "CD001")
	for name, c := range map[string]struct {
		info  string
		check error
		head  []byte
		want  string
	}{
		"overlay":   {info: `{"format": "qcow2", "backing-filename": "/base.qcow2"}`, want: "is an overlay on /base.qcow2; make one of its own with: qemu-img convert -O qcow2"},
		"data file": {info: `{"format": "qcow2", "format-specific": {"data": {"data-file": "d.raw"}}}`, want: "keeps its data in another file, d.raw"},
		"encrypted": {info: `{"format": "qcow2", "encrypted": true}`, want: "is encrypted"},
		"marked":    {info: `{"format": "qcow2", "format-specific": {"data": {"corrupt": true}}}`, want: "is marked corrupt"},
		"corrupt":   {info: qcow2Info, check: exitError(2), want: "is corrupt: exit status 2"},
		"vmdk":      {info: `{"format": "vmdk"}`, want: "format vmdk: only qcow2 and raw are taken"},
		"no loader": {info: qcow2Info, head: make([]byte, headSize), want: "has no partition table or boot sector"},
		"installer": {info: qcow2Info, head: iso, want: "is an ISO image: install it on a disk first"},
		"garbage":   {info: `{`, want: "read the answer of qemu-img info"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s, tools := newStore(t, nil)
			tools.info, tools.check = c.info, c.check
			if c.head != nil {
				tools.head = c.head
			}
			_, err := s.Import(t.Context(), disk(t, "x"), ImportOptions{Name: "mine"})
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(present(t, s)).To(BeEmpty())
		})
	}
}

func TestLeakedClustersAreNoReasonToRefuse(t *testing.T) {
	s, tools := newStore(t, nil)
	tools.check = exitError(3)
	img, err := s.Import(t.Context(), disk(t, "x"), ImportOptions{Name: "mine"})
	NewWithT(t).Expect(errors.Join(err, img.Close())).NotTo(HaveOccurred())
}

func TestImportChecksNameAndFirmware(t *testing.T) {
	g := NewWithT(t)
	s, _ := newStore(t, nil)
	_, err := s.Import(t.Context(), disk(t, "x"), ImportOptions{Name: "a/b"})
	g.Expect(err).To(MatchError(ContainSubstring(`name "a/b": use lower-case letters`)))
	_, err = s.Import(t.Context(), disk(t, "x"), ImportOptions{Name: "mine", Firmware: "coreboot"})
	g.Expect(err).To(MatchError(ContainSubstring(`firmware "coreboot" is neither bios nor uefi`)))
}

func TestAPathIsImportedOnceAndAgainWhenItChanges(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	path := disk(t, "one")
	first := ensure(t, s, path)
	calls := len(tools.calls)
	g.Expect(ensure(t, s, path).Digest).To(Equal(first.Digest))
	g.Expect(tools.calls).To(HaveLen(calls))
	g.Expect(os.WriteFile(path, []byte("longer"), 0o600)).To(Succeed())
	g.Expect(ensure(t, s, path).Digest).NotTo(Equal(first.Digest))
	_, err := s.Ensure(t.Context(), Request{Name: "./absent.qcow2"})
	g.Expect(err).To(MatchError(os.ErrNotExist))
	_, err = s.Ensure(t.Context(), Request{Name: t.TempDir()})
	g.Expect(err).To(MatchError(ContainSubstring("is not a regular file")))
}

func TestARawDiskIsConverted(t *testing.T) {
	g := NewWithT(t)
	s, tools := newStore(t, nil)
	tools.info = `{"format": "raw", "virtual-size": 1048576}`
	img := ensure(t, s, disk(t, "raw"))
	g.Expect(img.Format).To(Equal("qcow2"))
	g.Expect(tools.calls).To(ContainElement(MatchRegexp(`^qemu-img convert -f raw -O qcow2 .*disk.qcow2`)))
	g.Expect(tools.calls).NotTo(ContainElement(ContainSubstring("qemu-img check")), "a raw disk has nothing to check")
}

func TestFirmwareOf(t *testing.T) {
	linux := []byte("some other type!")
	for name, c := range map[string]struct {
		head []byte
		want string
		err  error
	}{
		"mbr":                {head: bootSector(), want: BIOS},
		"gpt without esp":    {head: gpt(linux), want: BIOS},
		"gpt with esp":       {head: gpt(linux, guidESP), want: UEFI},
		"gpt with both":      {head: gpt(linux, guidBIOSBoot, guidESP), want: BIOS},
		"empty":              {head: nil, err: errNoLoader},
		"shorter than a gpt": {head: gpt(guidESP)[:600], err: errNoLoader},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := firmwareOf(c.head)
			g.Expect(got).To(Equal(c.want))
			if c.err != nil {
				g.Expect(err).To(MatchError(c.err))
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
		})
	}
}

func FuzzFirmwareOf(f *testing.F) {
	f.Add(bootSector())
	f.Add(gpt(guidESP))
	f.Fuzz(func(t *testing.T, head []byte) {
		firmware, err := firmwareOf(head)
		if (err == nil) == (firmware == "") {
			t.Fatalf("firmware %q, error %v", firmware, err)
		}
	})
}
