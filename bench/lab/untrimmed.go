package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed untrimmed.sh
var untrimmedScript string

// untrimmedImage builds a disk of the packages that our image has, or finds the one of an earlier run. It needs root.
func (b *bench) untrimmedImage(ctx context.Context) (dir string, err error) {
	img, err := b.recipeImage(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, img.Close()) }()
	manifest, err := os.ReadFile(filepath.Join(filepath.Dir(img.Disk), "manifest.txt"))
	if err != nil {
		return "", err
	}
	var names []string
	for line := range strings.Lines(string(manifest)) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	packages := strings.Join(names, ",")
	sum := sha256.Sum256([]byte(untrimmedScript + packages))
	dir = filepath.Join(b.dirs.Cache, "bench", hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(filepath.Join(dir, "base.qcow2")); err == nil {
		return dir, nil
	}
	b.say("building the untrimmed image of %d packages", len(names))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	script := filepath.Join(b.work, "untrimmed.sh")
	if err := os.WriteFile(script, []byte(untrimmedScript), 0o600); err != nil {
		return "", err
	}
	return dir, b.plain.command(ctx, "sh", script, "bookworm", packages, dir, fmt.Sprint(img.VirtualSize))
}
