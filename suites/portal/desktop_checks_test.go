package portal_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

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

// isChecked are the general checks, by the same functions as for every backend; kde.yaml has the gaps that are known.
func (k *kde) isChecked() {
	k.resets()

	profile, problem := checks.ReadProfile("kde.yaml")
	// A check that fails costs the backend's next user a start; the gaps come last, where there are few.
	list := kdeChecks()
	slices.SortStableFunc(list, func(a, b checks.Check) int {
		return cmp.Compare(gaps(profile, a), gaps(profile, b))
	})

	BeforeAll(func() {
		Expect(problem).NotTo(HaveOccurred())
		k.checked = k.underTest(profile)
	})

	for _, check := range list {
		It(check.Name(), Label(check.Label), func(ctx SpecContext) { k.try(ctx, check) }, NodeTimeout(3*time.Minute))
	}
}

// gaps is 1 for a known gap.
func gaps(p checks.Profile, check checks.Check) int {
	if p.Gap(check.Key()) != nil {
		return 1
	}
	return 0
}

// underTest is the desk of the general checks. KDE's backend keeps a session that was made behind the frontend's back, of which it can
// have any number: no check minds those of others.
func (k *kde) underTest(profile checks.Profile) *checks.Desk {
	return &checks.Desk{
		Probe: k.probe, Backend: kdeUnderTest{k.desk}, Profile: profile, Thrifty: true,
		Place: checks.Place{
			Program: "/usr/lib/x86_64-linux-gnu/libexec/xdg-desktop-portal-kde", Frontend: "/usr/libexec/xdg-desktop-portal",
			PortalDir: "/usr/share/xdg-desktop-portal/portals", Portal: "kde.portal", Desktop: profile.Desktop,
		},
		Note: func(name, text string) { AddReportEntry(name, text) },
	}
}

// try makes a check, which a known gap has to fail.
func (k *kde) try(ctx context.Context, check checks.Check) {
	GinkgoHelper()
	profile := k.checked.Profile
	Expect(check.Missing(profile)).To(BeEmpty(), "why the check could not be made")
	judge(profile, check.Key(), checks.Try(ctx, check, k.checked))
}
