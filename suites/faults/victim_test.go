package faults_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
	. "ionlab/matchers"
	"ionlab/suites/room"
)

// What a victim is told by its environment.
const (
	phaseVariable    = "IONLAB_PHASE"
	topologyVariable = "IONLAB_TOPOLOGY"
)

// victimSpec leads a lab to a phase of its life and through it. It says when the phase begins.
func victimSpec() {
	It("goes through a phase", Label(roleVictim), func(ctx SpecContext) {
		phase, file := os.Getenv(phaseVariable), os.Getenv(topologyVariable)
		begins := func() { fmt.Fprintln(os.Stdout, "PHASE", phase) }
		switch phase {
		case "download", "bake":
			begins()
			labtest.Prepare(ctx, file)
		case "boot":
			begins()
			labtest.Start(ctx, file, labtest.WithColdStart())
		case "save", "restore":
			begins()
			labtest.Start(ctx, file)
		case "setup":
			labtest.Start(ctx, file, labtest.WithSetup(labtest.Setup{
				Key: filepath.Base(file), // another set-up for each victim
				Do: func(ctx context.Context, l *labtest.Lab) error {
					begins()
					return l.Node("solo").WriteFile(ctx, "/var/tmp/set-up", []byte("done"), 0o644)
				},
			}))
		case "snapshot":
			lab := labtest.Start(ctx, file)
			begins()
			Expect(lab.Snapshot(ctx)).To(Succeed())
		case "revert":
			lab := labtest.Start(ctx, file)
			Expect(lab.Snapshot(ctx)).To(Succeed())
			begins()
			Expect(lab.Revert(ctx)).To(Succeed())
		case "close":
			labtest.Start(ctx, file)
			DeferCleanup(begins)
		case "disk-full":
			fillTheDisk(ctx, file)
		case "hold":
			labtest.Start(ctx, file)
			begins()
			<-ctx.Done()
		}
	}, NodeTimeout(time.Hour))
}

// fullVariable names the folder of which the victim has a small one of its own.
const fullVariable = "IONLAB_FULL"

// fillTheDisk leaves the machine no room to write, and gives it back.
func fillTheDisk(ctx SpecContext, file string) {
	solo := labtest.Start(ctx, file).Node("solo")
	ballast := filepath.Join(os.Getenv(fullVariable), "ballast")
	out, err := exec.CommandContext(ctx, "sh", "-c", "head -c 2G /dev/zero >"+ballast).CombinedOutput()
	Expect(err).To(HaveOccurred())
	Expect(string(out)).To(ContainSubstring("No space left on device"))
	began := time.Now()
	_, err = solo.Shell(ctx, "head -c 100M /dev/urandom >/root/large; sync; sleep 600")
	Expect(err).To(MatchError(And(ContainSubstring(`node "solo" is dead: `), ContainSubstring("I/O error (is the host's disk full?)"))))
	Expect(time.Since(began)).To(BeNumerically("<", 2*time.Minute))
	Expect(os.Remove(ballast)).To(Succeed())
	Expect(solo.PowerOn(ctx)).To(Succeed(), "it boots from its disk")
	Expect(solo.Exec(ctx, "true")).To(ExitWith(0))
}

// start starts a victim in a room.
func start(in room.Room, phase, topology string, env ...string) *gexec.Session {
	GinkgoHelper()
	cmd := exec.Command(self(), "--ginkgo.label-filter="+roleVictim, "--ginkgo.v", "--ginkgo.no-color")
	cmd.Env = append(append(os.Environ(), in.Env()...), roleVariable+"="+roleVictim, phaseVariable+"="+phase, topologyVariable+"="+topology)
	cmd.Env = append(cmd.Env, env...)
	session, err := gexec.Start(cmd, GinkgoWriter, GinkgoWriter)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { session.Kill().Wait(time.Minute) })
	return session
}
