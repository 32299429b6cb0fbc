package labtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"
	"golang.org/x/sync/errgroup"

	"ionlab/internal/lab"
)

// Prepare makes what labs of these topologies need, once: images, and the snapshots from which they start warm. Paths are
// relative to the suite's folder. Call it in the first function of SynchronizedBeforeSuite, which runs in one process
// before the others begin; the second one then calls Start in each.
//
// What is there already costs nothing. A snapshot that is missing takes a cold start of its lab, which is closed again, two
// at a time; with LABTEST_WARM=off only images are made. Labs with AllowFailedUnits have snapshots of their own, which Prepare does not
// make. ctx bounds it all. It fails the suite when something cannot be made, with evidence as Start has it.
func Prepare(ctx context.Context, topologyFiles ...string) {
	ginkgo.GinkgoHelper()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lab.PreparedAtOnce)
	for _, file := range topologyFiles {
		group.Go(func() error {
			if err := prepare(ctx, file); err != nil {
				return fmt.Errorf("prepare %s: %w", file, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		ginkgo.Fail(fmt.Sprintf("infrastructure: %v", err))
	}
}

func prepare(ctx context.Context, file string) (err error) {
	l, err := newLab(file, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.inner.Prepare(ctx); err != nil {
		l.keepEvidence(context.WithoutCancel(ctx), ginkgo.CurrentSpecReport(), time.Time{})
		return err
	}
	return nil
}
