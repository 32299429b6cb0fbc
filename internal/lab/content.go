package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// contentDigest is the digest of a file, or of all that is in a folder: names, modes and contents. Links are followed at path only.
func contentDigest(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(path, file)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q %s", name, info.Mode())
		switch {
		case info.Mode().IsRegular():
			fmt.Fprintf(sum, " %d\n", info.Size())
			return addFile(sum, file)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(file)
			fmt.Fprintf(sum, " to %q\n", target)
			return err
		}
		fmt.Fprintln(sum)
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)[:16]), err
}

func addFile(to io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(to, file)
	return err
}
