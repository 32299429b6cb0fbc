// Package faults_test breaks labs: it kills their owners at any moment, damages what lies on the disk, and lets more of them
// want the host than it has room for. What follows has to work, or say what to do.
package faults_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
	"ionlab/suites/room"
)

func TestFaults(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Faults")
}

// A program of this suite may be another's child, with specs that are there only for it, named by roleVariable.
const (
	roleVariable = "IONLAB_ROLE"
	roleVictim   = "victim"
	roleCrowd    = "crowd"
)

func init() { //nolint:gochecknoinits // the specs of a role must not be there in any other run, not even to be left out.
	switch os.Getenv(roleVariable) {
	case roleVictim:
		victimSpec()
	case roleCrowd:
		crowdSpec()
	}
}

// in is where this process does its damage.
var in room.Room

const single = "../../topologies/single.yaml"

var _ = BeforeSuite(func(ctx SpecContext) {
	if os.Getenv(roleVariable) != "" {
		return
	}
	labtest.Prepare(ctx, single) // the room has its image and its snapshot from the start
	in = room.New().Furnish()
	in.Enter()
}, NodeTimeout(30*time.Minute))

// self is this program.
func self() string {
	GinkgoHelper()
	path, err := os.Executable()
	Expect(err).NotTo(HaveOccurred())
	return path
}

// labtestProgram builds the command line.
func labtestProgram() string {
	GinkgoHelper()
	bin, err := gexec.Build("ionlab/cmd/labtest")
	Expect(err).NotTo(HaveOccurred())
	return bin
}

// run runs a verb of the command line in a room to its end, and returns what it printed.
func run(ctx SpecContext, bin string, in room.Room, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), in.Env()...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
