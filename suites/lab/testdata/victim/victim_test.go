// Package victim_test is a suite that holds a lab until somebody kills it.
package victim_test

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
)

func TestVictim(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "victim")
}

var _ = It("holds a lab until it is killed", func(ctx SpecContext) {
	solo := labtest.Start(ctx, "../../../../topologies/single.yaml").Node("solo")
	_, err := solo.Exec(ctx, "sleep", "3600")
	Expect(err).NotTo(HaveOccurred())
}, SpecTimeout(time.Hour))
