package portal_test

import (
	"fmt"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/portal"
	"ionlab/fixtures/portal/checks"
	"ionlab/labtest"
)

var _ = Describe("A backend of the RemoteDesktop portal", Ordered, ContinueOnFailure, SpecPriority(1), Label("vm"), func() {
	var session *portal.Session
	// Which checks there are depends on the backend; its program is looked for once the specs run.
	known, problem := new(portal.Kit).UnderTest(os.Getenv)

	BeforeAll(func(ctx SpecContext) {
		Expect(problem).NotTo(HaveOccurred())
		deployment, err := kit.UnderTest(os.Getenv)
		Expect(err).NotTo(HaveOccurred())
		desk := labtest.Start(ctx, "../../topologies/portal.yaml", labtest.WithSetup(kit.Setup("desk", deployment))).Node("desk")
		session, err = kit.Attach(ctx, desk, deployment)
		Expect(err).NotTo(HaveOccurred())
		session.Thrifty = !known.Profile.KeepsSessions()
		session.Note = func(name, text string) { AddReportEntry(name, text) }
	}, NodeTimeout(20*time.Minute))

	var unknown []string
	for _, check := range checks.All() {
		if why := check.Missing(known.Profile); why != "" {
			unknown = append(unknown, check.Name()+": "+why)
			continue
		}
		It(check.Name(), Label(check.Label), func(ctx SpecContext) {
			judge(known.Profile, check.Key(), checks.Try(ctx, check, session.Desk))
		}, NodeTimeout(3*time.Minute))
	}

	if known.Profile.Witness == "" {
		unknown = append(unknown, "input from a peer across a network: the profile has not "+string(checks.Witness))
	}

	It("is named in the report, with what could not be checked", Label("platform"), func() {
		AddReportEntry("backend under test", known.Profile.Product)
		AddReportEntry("not checked", fmt.Sprintf("%d checks\n%s", len(unknown), strings.Join(unknown, "\n")))
	})
})
