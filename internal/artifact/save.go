package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// save fills path through a hidden file beside it, so that a file under its final name is complete.
func save(ctx context.Context, path string, limit int64, redactor *Redactor, src func(context.Context, io.Writer) error) (err error) {
	part, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer func() {
		err = errors.Join(err, part.Close())
		if removed := os.Remove(part.Name()); removed != nil && !errors.Is(removed, os.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}()
	capped := &cappedFile{file: part, head: (limit + 1) / 2, tail: limit / 2}
	clean := redactor.Writer(capped)
	failed := src(ctx, boundWriter(ctx, clean))
	if failed == nil && ctx.Err() != nil {
		failed = context.Cause(ctx)
	}
	if err := clean.Close(); err != nil {
		return errors.Join(failed, err)
	}
	reason := ""
	if failed != nil {
		reason = "\n[labtest: incomplete: " + string(redactor.Bytes([]byte(failed.Error()))) + "]\n"
	}
	return errors.Join(failed, capped.finish(path, reason))
}

// boundWriter makes a source stop writing when ctx ends.
func boundWriter(ctx context.Context, w io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return w.Write(p)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
