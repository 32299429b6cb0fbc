package portal_test

import (
	"fmt"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/portal"
	"ionlab/labtest"
)

// wan is a preset, and the least time in which a message and its answer can cross it: two links each way.
type wan struct {
	preset string
	least  time.Duration
}

func wans() []wan {
	return []wan{{"home_lan", 4 * time.Millisecond}, {"broadband", 80 * time.Millisecond}, {"cellular", 400 * time.Millisecond}}
}

var _ = Describe("Input from a peer across a network", Ordered, ContinueOnFailure, Label("vm", "rate-limit", "net"), func() {
	// Without a witness nothing tells what arrived; the entry "not checked" says so.
	if backend, err := new(portal.Kit).UnderTest(os.Getenv); err == nil && backend.Profile.Witness == "" {
		return
	}
	var (
		lab        *labtest.Lab
		session    *portal.Session
		deployment portal.Deployment
	)

	BeforeAll(func(ctx SpecContext) {
		var err error
		deployment, err = kit.UnderTest(os.Getenv)
		Expect(err).NotTo(HaveOccurred())
		// What the network and the portal let through is to be measured, not the reference backend's own limit.
		deployment.Env = append(deployment.Env, "REFBACKEND_RATE=100000", "REFBACKEND_BURST=100000")
		lab = labtest.Start(ctx, "../../topologies/portal-remote.yaml", labtest.WithSetup(kit.Setup("desk", deployment)))
		session, err = kit.Attach(ctx, lab.Node("desk"), deployment)
		Expect(err).NotTo(HaveOccurred())
		AddReportEntry("backend under test", deployment.Profile.Product)
	}, NodeTimeout(20*time.Minute))

	for _, w := range wans() {
		arrives := func(ctx SpecContext) {
			Expect(lab.Network("wan").Impair(ctx, labtest.Impairment{Preset: w.preset})).To(Succeed())
			desk := lab.Node("desk")
			steady, err := session.Remote(ctx, kit, desk, lab.Node("peer"), desk.Addr("wan").String(), 100, 20)
			Expect(err).NotTo(HaveOccurred())
			flood, err := session.Remote(ctx, kit, desk, lab.Node("peer"), desk.Addr("wan").String(), 300, 0)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry("input over "+w.preset, fmt.Sprintf(
				"20 events/s: p50 %s, p99 %s from sending to acknowledgement; as many as can be: %.0f events/s; of %d events %d were dropped",
				steady.Feed.P50.Round(time.Millisecond), steady.Feed.P99.Round(time.Millisecond), flood.Feed.PerSecond(),
				steady.Agent.Replayed+flood.Agent.Replayed, steady.Dropped()+flood.Dropped()))
			for _, r := range []*portal.Remote{steady, flood} {
				Expect(r.Feed.Refused).To(BeZero(), "refusals: %v", r.Feed.Reasons)
				Expect(r.Dropped()).To(BeZero(), "events that the portal took and the backend did not see")
			}
			Expect(steady.Agent.Replayed).To(Equal(100))
			Expect(flood.Agent.Replayed).To(Equal(300))
			Expect(steady.Feed.P50).To(BeNumerically(">=", w.least), "the network would be better than its preset says")
		}
		key := "P41-" + w.preset
		It("arrives complete over "+w.preset+", not before the network allows ("+key+")", func(ctx SpecContext) {
			asKnown(deployment.Profile, key, func() { arrives(ctx) })
		}, NodeTimeout(6*time.Minute))
	}
})
