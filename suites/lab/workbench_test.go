package lab_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"

	"ionlab/labtest"
)

// bench is the machine of topologies/workbench.yaml, shared by the specs below: a boot is the dear part.
var bench *labtest.Node

var _ = Describe("One provisioned machine", Ordered, ContinueOnFailure, SpecPriority(1), Label("vm", "workbench"), func() {
	BeforeAll(func(ctx SpecContext) {
		bench = labtest.Start(ctx, "../../topologies/workbench.yaml").Node("bench")
	}, NodeTimeout(20*time.Minute))

	Describe("provisioning", provisioningSpecs)
	Describe("commands", commandSpecs)
	Describe("files", fileSpecs)
	Describe("scenarios", scenarioSpecs)
	Describe("power", powerSpecs)
	Describe("death", deathSpecs)
})
