package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// diskInfo is what the store needs of `qemu-img info --output=json`.
type diskInfo struct {
	Format      string `json:"format"`
	VirtualSize int64  `json:"virtual-size"`
	Backing     string `json:"backing-filename"`
	Encrypted   bool   `json:"encrypted"`
	Dirty       bool   `json:"dirty-flag"`
	Specific    struct {
		Data struct {
			DataFile string `json:"data-file"`
			Corrupt  bool   `json:"corrupt"`
		} `json:"data"`
	} `json:"format-specific"`
}

// inspect reads what kind of disk a file is, and refuses what could not stand alone, read-only, for years.
func (s *Store) inspect(ctx context.Context, path string) (diskInfo, error) {
	var info diskInfo
	if err := s.need("qemu-img"); err != nil {
		return info, err
	}
	if _, err := os.Stat(path); err != nil {
		return info, err
	}
	var out bytes.Buffer
	err := s.run.Run(ctx, command{Argv: []string{"qemu-img", "info", "--output=json", path}, Out: &out})
	if err != nil {
		return info, fmt.Errorf("%s: not a disk that qemu-img can read: %w", path, err)
	}
	if err := json.Unmarshal(out.Bytes(), &info); err != nil {
		return info, fmt.Errorf("read the answer of qemu-img info: %w", err)
	}
	flatten := fmt.Sprintf("make one of its own with: qemu-img convert -O qcow2 %s new.qcow2", path)
	switch {
	case info.Format != "qcow2" && info.Format != "raw":
		return info, fmt.Errorf("%s: format %s: only qcow2 and raw are taken; %s", path, info.Format, flatten)
	case info.Backing != "":
		return info, fmt.Errorf("%s: is an overlay on %s; %s", path, info.Backing, flatten)
	case info.Specific.Data.DataFile != "":
		return info, fmt.Errorf("%s: keeps its data in another file, %s; %s", path, info.Specific.Data.DataFile, flatten)
	case info.Encrypted:
		return info, fmt.Errorf("%s: is encrypted; %s", path, flatten)
	case info.Specific.Data.Corrupt:
		return info, fmt.Errorf("%s: is marked corrupt; look at it with: qemu-img check %s", path, path)
	}
	return info, nil
}

// check has qemu-img look for damage; only qcow2 has what can be checked.
func (s *Store) check(ctx context.Context, path, format string) error {
	if format != "qcow2" {
		return nil
	}
	err := s.run.Run(ctx, command{Argv: []string{"qemu-img", "check", "-q", "-f", format, path}})
	const leaksOnly = 3 // qemu-img(1): leaked clusters waste space, and harm nothing
	if err != nil && exitStatus(err) != leaksOnly {
		return fmt.Errorf("%s: is corrupt: %w", path, err)
	}
	return nil
}

// headSize holds the MBR, the GPT header and its 128 entries, and the volume descriptor of an ISO 9660 file system.
const headSize = 64 << 10

// head returns the beginning of the disk that the guest would see.
func (s *Store) head(ctx context.Context, path, format, scratch string) ([]byte, error) {
	out := filepath.Join(scratch, "head.raw")
	err := s.run.Run(ctx, command{Argv: []string{
		"qemu-img", "dd", "-f", format, "-O", "raw", "bs=512", fmt.Sprintf("count=%d", headSize/512), "if=" + path, "of=" + out,
	}})
	if err != nil {
		return nil, fmt.Errorf("read the beginning of %s: %w", path, err)
	}
	return readHead(out)
}

var (
	errNoLoader  = errors.New("has no partition table or boot sector: nothing that boots by itself")
	errInstaller = errors.New("is an ISO image: install it on a disk first, and import that")
)

// GUIDs of partition types as they lie on the disk (UEFI 2.10, 5.3.3 and appendix A: the first three fields little-endian).
var (
	guidESP      = []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	guidBIOSBoot = []byte("Hah!IdontNeedEFI")
)

// firmwareOf finds what starts a disk by its first bytes: UEFI where a GPT has an EFI system partition and no BIOS boot
// partition, else BIOS.
func firmwareOf(head []byte) (string, error) {
	const sector, isoMark, entrySize, entries = 512, 0x8001, 128, 128
	if len(head) >= isoMark+5 && string(head[isoMark:isoMark+5]) == "CD001" {
		return "", errInstaller
	}
	if len(head) < 2*sector || head[510] != 0x55 || head[511] != 0xaa {
		return "", errNoLoader
	}
	if !bytes.Equal(head[sector:sector+8], []byte("EFI PART")) {
		return BIOS, nil
	}
	esp, bios := false, false
	table := head[2*sector : min(len(head), 2*sector+entrySize*entries)]
	for entry := range slices.Chunk(table, entrySize) {
		esp = esp || bytes.HasPrefix(entry, guidESP)
		bios = bios || bytes.HasPrefix(entry, guidBIOSBoot)
	}
	if esp && !bios {
		return UEFI, nil
	}
	return BIOS, nil
}
