package topology

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Topology is a checked and planned description of a lab. It is data: nothing changes it after Load or Parse, and any
// number of goroutines may read it.
type Topology struct {
	// File is the name of the file as it was given to Load or Parse.
	File string
	// Dir is the absolute folder of File; relative paths in the file start there.
	Dir      string
	Metadata Metadata
	// Networks has at least one entry.
	Networks []Network
	Routers  []Router
	// Nodes has at least one entry; a node with count stands here once for each machine.
	Nodes []Node
	// Seed is where all randomness of the fabric starts; 0 leaves the choice to the lab.
	Seed uint64
	// Digest is the hex SHA-256 of everything the file says, in a canonical form: comments, order of keys and the
	// place of the file do not change it.
	Digest string

	nodesAt mark
}

// Metadata describes the topology itself.
type Metadata struct {
	// Name is a DNS label, by default made from the name of the file.
	Name        string
	Description string
	Version     string
	Tags        []string
}

// Load reads, checks and plans the topology in the file at path. Findings come back as Problems.
func Load(path string) (*Topology, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read topology: %w", err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read topology: %w", err)
	}
	return Parse(path, data)
}

// Parse checks and plans the topology in data. The name of the file is used in messages, its folder is where relative
// paths start; the file need not exist. Findings come back as Problems, all at once.
//
// Variables in deploy sources are taken from the process's environment.
func Parse(file string, data []byte) (*Topology, error) {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("find the folder of topology %q: %w", file, err)
	}
	r := &report{file: file}
	raw := parse(r, data)
	if raw == nil {
		return nil, r.err()
	}
	applyDefaults(raw, file)
	validate(r, raw)
	t := plan(r, raw, sourceFolder{dir: dir, lookup: os.LookupEnv})
	if err := r.err(); err != nil {
		return nil, err
	}
	t.File = file
	return t, nil
}

// Node returns the node of that name and whether there is one. The pointer is into t.
func (t *Topology) Node(name string) (*Node, bool) {
	for i := range t.Nodes {
		if strings.EqualFold(t.Nodes[i].Name, name) {
			return &t.Nodes[i], true
		}
	}
	return nil, false
}

// Network returns the network of that name and whether there is one. The pointer is into t.
func (t *Topology) Network(name string) (*Network, bool) {
	for i := range t.Networks {
		if strings.EqualFold(t.Networks[i].Name, name) {
			return &t.Networks[i], true
		}
	}
	return nil, false
}

// Router returns the router of that name and whether there is one. The pointer is into t.
func (t *Topology) Router(name string) (*Router, bool) {
	for i := range t.Routers {
		if strings.EqualFold(t.Routers[i].Name, name) {
			return &t.Routers[i], true
		}
	}
	return nil, false
}
