// Package portal_test tests a RemoteDesktop portal in a real user session.
package portal_test

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/labtest"
)

func TestPortal(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "RemoteDesktop portal")
}

var desk *labtest.Node

var _ = BeforeSuite(func(ctx SpecContext) {
	desk = labtest.Start(ctx, "../../topologies/portal.yaml").Node("desk")
}, NodeTimeout(30*time.Minute))
