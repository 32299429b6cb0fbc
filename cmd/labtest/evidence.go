package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"ionlab/internal/artifact"
)

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
