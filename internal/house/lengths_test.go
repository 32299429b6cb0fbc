package house_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// The limits of style.md 4, in lines.
const (
	longestFile = 400
	longestTest = 600
)

// longFiles returns a sentence for each Go file beyond its limit, and how many files it has seen.
func longFiles(tree fs.FS) (long []string, seen int, err error) {
	err = fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if foreign(path, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		data, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		seen++
		limit := longestFile
		if strings.HasSuffix(path, "_test.go") {
			limit = longestTest
		}
		if lines := bytes.Count(data, []byte("\n")); lines > limit {
			long = append(long, fmt.Sprintf("%s has %d lines; %d is the most: divide it by nouns", path, lines, limit))
		}
		return nil
	})
	return long, seen, err
}

// foreign tells folders that hold no source of ours.
func foreign(path, name string) bool {
	hidden := strings.HasPrefix(name, ".") && path != "."
	return hidden || slices.Contains([]string{"out", "bin", "testdata"}, name)
}
