package portal_test

import (
	"context"
	"fmt"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/desktop"
	"ionlab/fixtures/portal/checks"
)

// kdeChecks are those of the general checks that are asked of KDE: what needs no mode of a backend, no documented limit and no witness
// in it. The desktop's own witness is the other specs'.
func kdeChecks() []checks.Check {
	keys := []string{"P03", "P05", "P06", "C10", "C13", "C18", "C17", "P13", "P14", "P15", "C28", "C29", "P21", "C16", "P29", "P30", "C40", "C1", "C2"}
	return slices.DeleteFunc(checks.All(), func(c checks.Check) bool { return !slices.Contains(keys, c.Key()) })
}

// kdeUnderTest is KDE's backend, as checks steer one. It has no modes; the bus may start it at any time.
type kdeUnderTest struct{ *desktop.Desktop }

func (b kdeUnderTest) Start(ctx context.Context, env map[string]string) error {
	if len(env) > 0 {
		return fmt.Errorf("KDE's backend has no modes: %v", env)
	}
	return b.RestartBackend(ctx)
}

func (b kdeUnderTest) Stop(ctx context.Context) error          { return b.StopBackend(ctx) }
func (b kdeUnderTest) PID(ctx context.Context) (int, error)    { return b.BackendPID(ctx) }
func (b kdeUnderTest) Log(ctx context.Context) (string, error) { return b.BackendLog(ctx) }
func (b kdeUnderTest) Activatable(context.Context) error       { return nil }

// underTest is the desk of the general checks.
func (k *kde) underTest(profile checks.Profile) *checks.Desk {
	return &checks.Desk{
		Probe: k.probe, Backend: kdeUnderTest{k.desk}, Profile: profile,
		Place: checks.Place{
			Program: "/usr/lib/x86_64-linux-gnu/libexec/xdg-desktop-portal-kde", Frontend: "/usr/libexec/xdg-desktop-portal",
			PortalDir: "/usr/share/xdg-desktop-portal/portals", Portal: "kde.portal", Desktop: profile.Desktop,
		},
		Note: func(name, text string) { AddReportEntry(name, text) },
	}
}

// try makes a check, which a known gap has to fail.
func (k *kde) try(ctx context.Context, check checks.Check, profile checks.Profile) {
	GinkgoHelper()
	Expect(check.Missing(profile)).To(BeEmpty(), "why the check could not be made")
	err := checks.Try(ctx, check, k.underTest(profile))
	judge(profile, check.Key(), err)
}
