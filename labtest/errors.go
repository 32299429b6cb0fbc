package labtest

import (
	"errors"

	"github.com/onsi/gomega"

	"ionlab/internal/lab"
)

// hopeless wraps the error of an operation on a dead node so that Eventually stops at once: no later try can succeed.
// Source: gomega's StopTrying.
func hopeless(err error) error {
	var dead *lab.DeadError
	if errors.As(err, &dead) || errors.Is(err, lab.ErrClosed) {
		return gomega.StopTrying("no later try can succeed").Wrap(err)
	}
	return err
}
