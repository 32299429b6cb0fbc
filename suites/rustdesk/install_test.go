package rustdesk_test

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
	. "ionlab/matchers"
)

// These specs need RustDesk itself: RUSTDESK_DEB names its .deb. Without it they fail at the start and say so, unless
// they are left out by their label, as `make test` does.
var _ = Describe("RustDesk from its .deb", Ordered, Label("vm", "needs:rustdesk"), func() {
	var desk *labtest.Node

	BeforeAll(func(ctx SpecContext) {
		desk = labtest.Start(ctx, "../../topologies/rustdesk.yaml").Node("desk")
	}, NodeTimeout(30*time.Minute))

	It("installs (R01)", func(ctx SpecContext) {
		Expect(desk.Shell(ctx, "DEBIAN_FRONTEND=noninteractive dpkg --install /var/tmp/rustdesk.deb")).To(ExitWith(0))
		Expect(desk.Exec(ctx, "dpkg-query", "-W", "-f", "${Status}", "rustdesk")).To(OutputMatching(`^install ok installed$`))
		Expect(desk.Exec(ctx, "dpkg", "-V", "rustdesk")).To(OutputMatching(`^$`))
	}, NodeTimeout(15*time.Minute))

	It("tells its version (R02)", func(ctx SpecContext) {
		// Its exit status is 0 even when its library does not load, so only the output counts.
		Expect(desk.Run(ctx, labtest.Cmd{Argv: []string{"rustdesk", "--version"}, Timeout: time.Minute})).To(OutputMatching(`^\d+\.\d+\.\d+`))
	}, NodeTimeout(2*time.Minute))

	It("runs its service (R03)", func(ctx SpecContext) {
		Eventually(ctx, desk.Exec).WithArguments("systemctl", "is-active", "rustdesk").
			Within(2 * time.Minute).ProbeEvery(time.Second).Should(OutputMatching(`^active\n$`))
		Expect(desk.Exec(ctx, "systemctl", "is-enabled", "rustdesk")).To(OutputMatching(`^enabled\n$`))
	}, NodeTimeout(4*time.Minute))

	It("tells its id, without a person, and the same one each time (R04)", func(ctx SpecContext) {
		var id string
		Eventually(ctx, func(ctx SpecContext) (*labtest.Result, error) {
			res, err := desk.Run(ctx, labtest.Cmd{Argv: []string{"rustdesk", "--get-id"}, Timeout: 30 * time.Second})
			if err == nil {
				id = strings.TrimSpace(res.Stdout())
			}
			return res, err
		}).WithContext(ctx).Within(2 * time.Minute).ProbeEvery(2 * time.Second).Should(OutputMatching(`^\d{6,12}\s*$`))
		AddReportEntry("RustDesk id", id)
		for range 2 {
			Expect(desk.Exec(ctx, "rustdesk", "--get-id")).To(OutputMatching(`^` + id + `\s*$`))
		}
	}, NodeTimeout(5*time.Minute))
})
