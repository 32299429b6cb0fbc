package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"ionlab/internal/artifact"
)

// keepCapture makes the file of a capture that the topology asks for, where evidence goes, or else in the working folder.
func (s *session) keepCapture(network string) (io.WriteCloser, error) {
	root := s.artifacts
	if root == "" {
		root = "labtest-artifacts"
	}
	dir, err := artifact.Create(root, s.lab.Topology().Metadata.Name, "captures")
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(filepath.Join(dir.Path(), network+".pcapng"))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(s.err, "capture of %s: %s\n", network, path)
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// evidenceLimit bounds the taking of evidence.
const evidenceLimit = 2 * time.Minute

// keepEvidence writes what is known of the lab where the caller wants it. That it could not be taken is told only: what
// went wrong before counts more.
func (s *session) keepEvidence(ctx context.Context, what string) {
	if s.artifacts == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceLimit)
	defer cancel()
	dir, err := artifact.Create(s.artifacts, s.lab.Topology().Metadata.Name, what)
	if err == nil {
		err = s.lab.Collect(ctx, dir, time.Time{})
		path, e := filepath.Abs(dir.Path())
		err = errors.Join(err, e)
		fmt.Fprintf(s.err, "artifacts: %s\n", path)
	}
	if err != nil {
		fmt.Fprintf(s.err, "labtest: %v\n", err)
	}
}
