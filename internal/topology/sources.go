package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// CheckSources returns Problems for sources of deploy that are not there, are neither file nor folder, cannot be read,
// or name a variable that is not set, or nil. It looks at the files as they are now: call it right before a start.
func (t *Topology) CheckSources() error {
	r := &report{file: t.File}
	for _, node := range t.Nodes {
		for _, d := range node.Deploy {
			if c := d.checkSource(); c != nil {
				r.add(d.at, *c)
			}
		}
	}
	return r.err()
}

func (d Deploy) checkSource() *complaint {
	if len(d.unset) > 0 {
		return &complaint{
			fmt.Sprintf("the variable %s is not set", strings.Join(d.unset, ", ")),
			fmt.Sprintf("set it in the environment, or write a default as ${%s:-path}", d.unset[0]),
		}
	}
	info, err := os.Stat(d.Src)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &complaint{quotePath(d.Src) + " does not exist", "build it first, or correct src"}
	case err != nil:
		return &complaint{quotePath(d.Src) + " cannot be read: " + cause(err), "correct the rights or src"}
	case !info.IsDir() && !info.Mode().IsRegular():
		return &complaint{quotePath(d.Src) + " is neither a file nor a folder", "name a regular file or a folder"}
	}
	file, err := os.Open(d.Src)
	if err != nil {
		return &complaint{quotePath(d.Src) + " cannot be read: " + cause(err), "correct the rights or src"}
	}
	_ = file.Close()
	return nil
}

// cause returns an error of a file without the path, which the message has already.
func cause(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// quotePath quotes a path in full.
func quotePath(path string) string { return fmt.Sprintf("%q", path) }
