// Package quickstart_test is the suite that README begins with.
package quickstart_test

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

func TestQuickstart(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Quickstart")
}

var lab *labtest.Lab

var _ = BeforeSuite(func(ctx SpecContext) {
	lab = labtest.Start(ctx, "../../topologies/quickstart.yaml")
}, NodeTimeout(20*time.Minute))

var _ = Describe("Two machines", Label("vm"), func() {
	It("know each other by name", func(ctx SpecContext) {
		alice := lab.Node("alice")
		Expect(alice.Exec(ctx, "ping", "-c", "1", "bob")).To(And(ExitWith(0), OutputContaining("1 received")))
	}, SpecTimeout(time.Minute))

	It("run what Debian runs", func(ctx SpecContext) {
		Eventually(ctx, lab.Node("bob").Exec).WithArguments("systemctl", "is-active", "ssh").
			Within(30 * time.Second).Should(ExitWith(0))
	}, SpecTimeout(time.Minute))
})
