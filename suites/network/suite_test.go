// Package network_test holds specs of networks that behave like real ones, judged by what is in the guests: Debian's
// ping, iperf3 and STUN client, and a program that punches holes.
package network_test

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
)

func TestNetwork(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Networks")
}

// punch is the path of the program that punches holes, built for the guests.
var punch string

var _ = SynchronizedBeforeSuite(func() []byte {
	path, err := gexec.BuildWithEnvironment("ionlab/suites/network/punch", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"})
	Expect(err).NotTo(HaveOccurred())
	return []byte(path)
}, func(path []byte) { punch = string(path) })

var _ = SynchronizedAfterSuite(func() {}, func() { gexec.CleanupBuildArtifacts() })
