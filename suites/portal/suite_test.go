// Package portal_test tests a backend of the RemoteDesktop portal in a real login session: the reference backend, or the one that
// PORTAL_BACKEND names.
package portal_test

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/portal"
	"ionlab/labtest"
)

func TestPortal(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "RemoteDesktop portal")
}

// The programs are built and the snapshots made once, for all processes.
var kit *portal.Kit

var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	dir, err := os.MkdirTemp("", "portal-kit")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, dir)
	_, err = portal.Build(ctx, dir)
	Expect(err).NotTo(HaveOccurred())
	labtest.Prepare(ctx, "../../topologies/portal.yaml", "../../topologies/portal-remote.yaml")
	return []byte(dir)
}, func(dir []byte) {
	kit = &portal.Kit{Dir: string(dir)}
}, NodeTimeout(30*time.Minute))
