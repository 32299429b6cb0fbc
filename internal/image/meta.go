package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The files of an object.
const (
	metaFile     = "image.json"
	diskFile     = "disk.qcow2"
	kernelFile   = "vmlinuz"
	initrdFile   = "initrd.img"
	archiveFile  = "rootfs.tar.zst"
	manifestFile = "manifest.txt"
)

// bootFiles are the files that make an object what it is; the others are by-products of building it.
var bootFiles = []string{diskFile, kernelFile, initrdFile}

// Kinds of references: how an image is obtained.
const (
	KindRecipe   = "recipe"
	KindDerived  = "derived"
	KindDownload = "download"
	KindImport   = "import"
	KindPath     = "path"
)

// meta describes an object; it is written once, into the object's folder.
type meta struct {
	Digest      string              `json:"digest"`
	Kind        string              `json:"kind"`
	Source      string              `json:"source"`
	Created     time.Time           `json:"created"`
	Format      string              `json:"format"`
	Firmware    string              `json:"firmware"`
	VirtualSize int64               `json:"virtual_size"`
	Cmdline     string              `json:"cmdline,omitempty"`
	Suite       string              `json:"suite,omitempty"`
	Packages    []string            `json:"packages,omitempty"`
	Files       map[string]fileMeta `json:"files"`
}

type fileMeta struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// contentDigest covers what a guest can see of the object: its boot files, its command line and its firmware.
func (m *meta) contentDigest() string {
	h := sha256.New()
	for _, name := range bootFiles {
		if f, ok := m.Files[name]; ok {
			fmt.Fprintf(h, "%s %d %s\n", name, f.Size, f.SHA256)
		}
	}
	fmt.Fprintf(h, "cmdline %q\n", m.Cmdline)
	if m.Firmware != BIOS { // one disk may be kept for either firmware
		fmt.Fprintf(h, "firmware %q\n", m.Firmware)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// id is the name of the object's folder.
func (m *meta) id() string { return m.Digest[len("sha256:"):][:40] }

// ref leads from something a caller can name to an object.
type ref struct {
	Object   string   `json:"object"`
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Source   string   `json:"source"`
	Packages []string `json:"packages,omitempty"`
	// Base is the object that packages were installed on.
	Base    string    `json:"base,omitempty"`
	Created time.Time `json:"created"`
}

// refKey makes the name of a reference from what it depends on.
func refKey(kind string, parts ...string) string {
	text, err := json.Marshal(parts)
	if err != nil { // strings always marshal
		text = []byte(fmt.Sprint(parts))
	}
	sum := sha256.Sum256(text)
	return kind + "-" + hex.EncodeToString(sum[:])[:40]
}

func readJSON(path string, into *ref) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readMeta(dir string) (*meta, error) {
	text, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return nil, err
	}
	var m meta
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, metaFile), err)
	}
	if len(m.Digest) < len("sha256:")+40 || m.Files[diskFile].Size == 0 {
		return nil, fmt.Errorf("%s: incomplete", filepath.Join(dir, metaFile))
	}
	return &m, nil
}

// checkSizes compares the object's files with what was recorded: cheap, and enough to see a truncated or lost file.
func (m *meta) checkSizes(dir string) error {
	var problems []error
	for _, name := range m.names() {
		st, err := os.Stat(filepath.Join(dir, name))
		switch {
		case err != nil:
			problems = append(problems, err)
		case st.Size() != m.Files[name].Size:
			problems = append(problems, fmt.Errorf("%s has %d bytes, was made with %d",
				filepath.Join(dir, name), st.Size(), m.Files[name].Size))
		}
	}
	return errors.Join(problems...)
}

func (m *meta) names() []string {
	names := make([]string, 0, len(m.Files))
	for name := range m.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// writeAtomic writes a small file so that a reader sees the old or the new content, never a part. The part lies in tmp: a folder
// of the same file system that is swept when its owner dies.
func writeAtomic(tmp, path string, content any) error {
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(tmp, ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
