// Package network_test holds specs of networks that behave like real ones, judged by what is in the guests: Debian's
// ping, iperf3 and STUN client, and a program that punches holes.
package network_test

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"ionlab/labtest"
)

func TestNetwork(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Networks")
}

// punch is the path of the program that punches holes, built for the guests.
var punch string

// Specs that measure are not to share the processors with machines that boot, so all labs are made before the first spec. Who
// asks for one spec, or for other labels than all of these have, does not wait for that.
var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	suite, _ := GinkgoConfiguration()
	if len(suite.FocusStrings) == 0 && types.MustParseLabelFilter(suite.LabelFilter)([]string{"vm", "network"}) {
		var files []string
		for _, name := range []string{"nat-matrix", "lan", "wan-two-sites", "cgnat", "satellite", "jumbo"} {
			files = append(files, "../../topologies/"+name+".yaml")
		}
		labtest.Prepare(ctx, files...)
	}
	path, err := gexec.BuildWithEnvironment("ionlab/suites/network/punch", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"})
	Expect(err).NotTo(HaveOccurred())
	return []byte(path)
}, func(path []byte) { punch = string(path) }, NodeTimeout(30*time.Minute))

var _ = SynchronizedAfterSuite(func() {}, func() { gexec.CleanupBuildArtifacts() })
