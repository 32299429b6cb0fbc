// Package clean_test shows a suite whose every spec finds the machine as BeforeSuite left it.
package clean_test

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

func TestClean(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "A clean lab for each spec")
}

var lab *labtest.Lab

var _ = BeforeSuite(func(ctx SpecContext) {
	lab = labtest.Start(ctx, "../../topologies/single.yaml")
	Expect(lab.Node("solo").WriteFile(ctx, "/root/state", []byte("as it was set up"), 0o600)).To(Succeed())
}, NodeTimeout(20*time.Minute))

var _ = Describe("Each spec", Label("vm", "warm"), func() {
	labtest.RevertEach()

	for _, name := range []string{"one", "another", "a third"} {
		It("finds the machine as it was set up: "+name, func(ctx SpecContext) {
			solo := lab.Node("solo")
			Expect(solo.ReadFile(ctx, "/root/state")).To(BeEquivalentTo("as it was set up"))
			Expect(solo.Exec(ctx, "systemctl", "is-active", "cron-like")).NotTo(ExitWith(0))
			Expect(solo.Shell(ctx, "echo spoilt >/root/state; systemd-run --unit=cron-like sleep 3600")).To(ExitWith(0))
			Expect(solo.Exec(ctx, "systemctl", "is-active", "cron-like")).To(ExitWith(0))
		}, NodeTimeout(3*time.Minute))
	}

	Context("with steps that share one state", Ordered, func() {
		It("spoils it", func(ctx SpecContext) {
			Expect(lab.Node("solo").WriteFile(ctx, "/root/state", []byte("spoilt"), 0o600)).To(Succeed())
		}, NodeTimeout(3*time.Minute))

		It("finds it spoilt", func(ctx SpecContext) {
			Expect(lab.Node("solo").ReadFile(ctx, "/root/state")).To(BeEquivalentTo("spoilt"))
		}, NodeTimeout(time.Minute))
	})
})
