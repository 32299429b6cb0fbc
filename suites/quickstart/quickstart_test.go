// Package quickstart_test is the smallest useful suite. In a suite with one lab for all its specs, BeforeSuite serves
// as well; BeforeAll keeps a second Ginkgo process from starting a lab that it has no specs for.
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

var _ = Describe("Two machines", Ordered, Label("vm"), func() {
	var lab *labtest.Lab

	BeforeAll(func(ctx SpecContext) {
		lab = labtest.Start(ctx, "../../topologies/quickstart.yaml")
	}, NodeTimeout(20*time.Minute))

	It("know each other by name", func(ctx SpecContext) {
		alice := lab.Node("alice")
		Expect(alice.Exec(ctx, "ping", "-c", "1", "bob")).To(And(ExitWith(0), OutputContaining("1 received")))
	}, NodeTimeout(time.Minute))

	It("run what Debian runs", func(ctx SpecContext) {
		Eventually(ctx, lab.Node("bob").Exec).WithArguments("systemctl", "is-active", "ssh").
			Within(30 * time.Second).Should(ExitWith(0))
	}, NodeTimeout(time.Minute))
})
