package seed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/kdomanski/iso9660"
)

// volumeID is the label by which cloud-init finds the volume.
const volumeID = "cidata"

// fileNames are all names a NoCloud volume may hold. The ISO library keeps exactly these as they are: lower case, and a
// dash, which strict ISO 9660 lacks but Linux reads; other names it would change without a word.
var fileNames = [...]string{MetaDataName, NetworkConfigName, UserDataName, "vendor-data"}

// Write writes files as an ISO 9660 volume that cloud-init finds. A name that cloud-init would ignore is an error.
func Write(w io.Writer, files map[string][]byte) (err error) {
	for _, required := range []string{UserDataName, MetaDataName} {
		if _, ok := files[required]; !ok {
			return fmt.Errorf("write seed volume: %s is missing, and without it cloud-init ignores the volume", required)
		}
	}
	image, err := iso9660.NewWriter()
	if err != nil {
		return fmt.Errorf("write seed volume: make staging folder: %w", err)
	}
	defer func() { err = errors.Join(err, image.Cleanup()) }()
	for name, content := range files {
		if !slices.Contains(fileNames[:], name) {
			return fmt.Errorf("write seed volume: cloud-init does not know the file %q: use one of %v", name, fileNames)
		}
		if err := image.AddFile(bytes.NewReader(content), name); err != nil {
			return fmt.Errorf("write seed volume: add %s: %w", name, err)
		}
	}
	if err := image.WriteTo(w, volumeID); err != nil {
		return fmt.Errorf("write seed volume: %w", err)
	}
	return nil
}

// WriteFile writes cfg's volume to path, readable by its owner only because it holds the private host key.
// After an error nothing is left at path, except a file that was there before: that is an error and stays as it is.
func WriteFile(path string, cfg Config) (err error) {
	files, err := Files(cfg)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create seed volume: %w", err)
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	return Write(out, files)
}
