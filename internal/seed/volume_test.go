package seed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// readAsLinux reads the volume's root folder as Linux does without Rock Ridge (fs/isofs/dir.c, isofs_name_translate):
// upper case becomes lower case and the version ;1 goes.
func readAsLinux(t *testing.T, image []byte) (label string, files map[string][]byte) {
	t.Helper()
	const sector = 2048
	descriptor := image[16*sector : 17*sector]
	if string(descriptor[1:6]) != "CD001" || descriptor[0] != 1 {
		t.Fatalf("no primary volume descriptor: % x", descriptor[:8])
	}
	label = strings.TrimRight(string(descriptor[40:72]), " ")
	files = map[string][]byte{}
	root := descriptor[156:190]
	start := int(binary.LittleEndian.Uint32(root[2:])) * sector
	folder := image[start : start+int(binary.LittleEndian.Uint32(root[10:]))]
	for len(folder) > 0 && folder[0] != 0 {
		record := folder[:folder[0]]
		folder = folder[folder[0]:]
		name := string(record[33 : 33+int(record[32])])
		if name == "\x00" || name == "\x01" {
			continue
		}
		at, size := int(binary.LittleEndian.Uint32(record[2:]))*sector, int(binary.LittleEndian.Uint32(record[10:]))
		files[strings.TrimSuffix(strings.ToLower(name), ";1")] = image[at : at+size]
	}
	return label, files
}

func TestVolumeHoldsTheExactNames(t *testing.T) {
	g := NewWithT(t)
	files, err := Files(full(t))
	g.Expect(err).NotTo(HaveOccurred())
	files["vendor-data"] = bytes.Repeat([]byte("x"), 5000)
	var image bytes.Buffer
	g.Expect(Write(&image, files)).To(Succeed())
	label, got := readAsLinux(t, image.Bytes())
	g.Expect(label).To(Equal("cidata"))
	g.Expect(got).To(Equal(files))
}

func TestWriteRefusesWhatCloudInitWouldIgnore(t *testing.T) {
	g := NewWithT(t)
	files := map[string][]byte{UserDataName: nil, MetaDataName: nil, "user-data-desk": nil}
	err := Write(&bytes.Buffer{}, files)
	g.Expect(err).To(MatchError(ContainSubstring(`cloud-init does not know the file "user-data-desk": use one of [meta-data`)))
	err = Write(&bytes.Buffer{}, map[string][]byte{MetaDataName: nil})
	g.Expect(err).To(MatchError("write seed volume: user-data is missing, and without it cloud-init ignores the volume"))
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestWriteTellsOfAFullDisk(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("TMPDIR", t.TempDir())
	err := Write(fullDisk{}, map[string][]byte{UserDataName: nil, MetaDataName: nil})
	g.Expect(err).To(MatchError(ContainSubstring("write seed volume: no space left on device")))
	g.Expect(os.ReadDir(os.Getenv("TMPDIR"))).To(BeEmpty(), "the staging folder holds a private key")
}

func TestWriteFileIsPrivateAndNeverReplaces(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "seed.iso")
	g.Expect(WriteFile(path, minimal(t))).To(Succeed())
	info, err := os.Stat(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)))
	before, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())

	err = WriteFile(path, minimal(t))
	g.Expect(err).To(MatchError(os.ErrExist))
	g.Expect(os.ReadFile(path)).To(Equal(before))

	bad := filepath.Join(t.TempDir(), "bad.iso")
	g.Expect(WriteFile(bad, Config{})).NotTo(Succeed())
	g.Expect(bad).NotTo(BeAnExistingFile())
}
