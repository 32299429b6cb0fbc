package faults_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"golang.org/x/sys/unix"

	"ionlab/suites/room"
)

var _ = Describe("Owners that are killed with SIGKILL", Ordered, Serial, Label("vm", "killed"), func() {
	var bin string

	BeforeAll(func(SpecContext) {
		bin = labtestProgram()
		// Orphans become children of this process: none can hide.
		Expect(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)).To(Succeed())
		DeferCleanup(func() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	}, NodeTimeout(20*time.Minute))

	DescribeTable("leave nothing that gc does not find, and never what stops the next start", func(ctx SpecContext, count func(phase) int) {
		at := stage{in: in, url: serveImage()}
		seed := uint64(GinkgoRandomSeed())       //nolint:gosec // any bits will do.
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a plan is no secret.
		neighbour := start(in, "hold", at.topology(phase{name: "hold"}, 0))
		Eventually(ctx, neighbour.Out).Within(5 * time.Minute).Should(gbytes.Say("PHASE hold"))

		var account []string
		for i, k := range plan(random, count) {
			account = append(account, fmt.Sprintf("%3d. %s", i+1, k.untilItHits(ctx, bin, at)))
		}
		AddReportEntry(fmt.Sprintf("%d kills; --seed=%d repeats them", len(account), seed), strings.Join(account, "\n"))

		By("starting once more, through every phase")
		for _, p := range phases() {
			if count(p) == 0 || p.name == "boot" { // a start that saves boots before
				continue
			}
			at.forget(ctx, bin)
			session := start(in, p.name, at.topology(p, 0), p.env()...)
			Eventually(ctx, session).Within(10*time.Minute).Should(gexec.Exit(0), "the start after the kills: %s", p.name)
		}

		By("collecting what is left")
		left := in.Labs()
		planned, err := run(ctx, bin, in, "gc", "--dry-run")
		Expect(err).NotTo(HaveOccurred(), planned)
		Expect(in.Labs()).To(Equal(left), "a dry run removes nothing")
		out, err := run(ctx, bin, in, "gc")
		Expect(err).NotTo(HaveOccurred(), out)
		AddReportEntry("gc", out)
		Expect(run(ctx, bin, in, "exec", ".", "solo", "--", "echo", "alive")).To(Equal("alive\n"), "the living lab is left alone")
		Eventually(ctx, neighbour.Interrupt()).Within(time.Minute).Should(gexec.Exit())
		Expect(in.Labs()).To(BeEmpty())
		Expect(in.Strays()).To(BeEmpty())
		Expect(in.Processes()).To(BeEmpty())
		Expect(in.Traces()).To(BeEmpty())
	},
		Entry("in a sample of ten", func(p phase) int { return p.few }, NodeTimeout(20*time.Minute)),
		Entry("a hundred times", Label("faults"), func(p phase) int { return p.many }, NodeTimeout(90*time.Minute)),
	)
})

// A kill comes some time after a victim's phase has begun.
type kill struct {
	phase phase
	n     int // of its phase
	after time.Duration
	gc    bool // whether the host is cleaned up behind it, or the next victim finds what is left
}

// plan draws the kills.
func plan(random *rand.Rand, count func(phase) int) []kill {
	var kills []kill
	for _, p := range phases() {
		for n := range count(p) {
			after := time.Duration(random.Float64() * float64(p.length))
			kills = append(kills, kill{phase: p, n: n, after: after.Round(time.Millisecond), gc: random.IntN(5) == 0})
		}
	}
	random.Shuffle(len(kills), func(i, j int) { kills[i], kills[j] = kills[j], kills[i] })
	kills[len(kills)-1].gc = false // the gc at the end has something to do
	return kills
}

// again is added to the number of a victim that is tried again: what the first has made is not made twice.
const again = 16

// untilItHits carries the kill out, and sooner when the victim was faster.
func (k kill) untilItHits(ctx SpecContext, bin string, at stage) string {
	GinkgoHelper()
	for ; ; k.after /= 2 {
		if account, hit := k.carryOut(ctx, bin, at); hit {
			return account
		}
		k.n += again
	}
}

// carryOut starts a victim, kills it, and finds out whether anything lives on. It returns what the victim was doing, and
// whether it was still at it.
func (k kill) carryOut(ctx SpecContext, bin string, at stage) (account string, hit bool) {
	GinkgoHelper()
	By(fmt.Sprintf("killing %s %d after %s", k.phase.name, k.n, k.after))
	at.forget(ctx, bin)
	others := at.in.Processes()
	victim := start(at.in, k.phase.name, at.topology(k.phase, k.n), k.phase.env()...)
	Eventually(ctx, victim.Out).WithPolling(5 * time.Millisecond).Within(10 * time.Minute).Should(gbytes.Say(k.phase.marker()))
	select {
	case <-time.After(k.after):
	case <-victim.Exited:
	case <-ctx.Done():
	}
	had := len(lived(at.in.Processes(), others))
	Expect(victim.Command.Process.Signal(syscall.SIGKILL)).To(Or(Succeed(), MatchError(os.ErrProcessDone)))
	Eventually(ctx, victim).Within(time.Minute).Should(gexec.Exit())
	left := func() []string { return append(lived(at.in.Processes(), others), orphans(others)...) }
	Eventually(left).Within(2*time.Second).ProbeEvery(20*time.Millisecond).
		Should(BeEmpty(), "processes that outlived their owner, killed in its %s phase; there had been %d", k.phase.name, had)
	if k.gc {
		out, err := run(ctx, bin, at.in, "gc")
		Expect(err).NotTo(HaveOccurred(), out)
	}
	Expect(victim.ExitCode()).To(BeElementOf(0, 128+int(syscall.SIGKILL)), "it went well until it was killed")
	return fmt.Sprintf("%-8s after %s with %d processes, at: %s", k.phase.name, k.after, had, lastLine(victim.Out.Contents())),
		victim.ExitCode() != 0
}

// lived are the processes that are not among the others.
func lived(all, others []string) []string {
	return slices.DeleteFunc(all, func(p string) bool { return slices.Contains(others, p) })
}

// orphans are children of this process that are not among the others and have not ended.
func orphans(others []string) []string {
	var found []string
	for _, child := range room.Children() {
		if !slices.ContainsFunc(others, func(p string) bool { return strings.HasPrefix(p, child+" ") }) {
			found = append(found, child)
		}
	}
	return found
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
