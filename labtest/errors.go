package labtest

import (
	"errors"
	"fmt"

	"github.com/onsi/gomega"

	"ionlab/internal/lab"
)

// hopeless wraps the error of an operation on a dead node so that Eventually stops at once: no later try can succeed.
// Source: gomega's StopTrying.
func hopeless(err error) error {
	var dead *lab.DeadError
	switch {
	case errors.As(err, &dead):
		return gomega.StopTrying(fmt.Sprintf("node %q is dead", dead.Node)).Wrap(err)
	case errors.Is(err, lab.ErrClosed):
		return gomega.StopTrying("the lab is closed").Wrap(err)
	}
	return err
}
