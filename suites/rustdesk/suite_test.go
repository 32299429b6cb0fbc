// Package rustdesk_test tests RustDesk in virtual machines, without a person at a console: what RUSTDESK_DEB names, or a
// stand-in, which every container and report line then says.
package rustdesk_test

import (
	"encoding/json"
	"os"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/rustdesk"
)

func TestRustDesk(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "RustDesk")
}

// kit is what goes into the guests; kitDir has the topologies of the real product.
var (
	kit    *rustdesk.Kit
	kitDir string
)

var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	dir, err := os.MkdirTemp("", "rustdesk-kit-")
	Expect(err).NotTo(HaveOccurred())
	built, err := rustdesk.Build(ctx, dir, os.Getenv("RUSTDESK_DEB"))
	Expect(err).NotTo(HaveOccurred())
	data, err := json.Marshal(built)
	Expect(err).NotTo(HaveOccurred())
	return data
}, func(data []byte) {
	kit = &rustdesk.Kit{}
	Expect(json.Unmarshal(data, kit)).To(Succeed())
	kitDir = GinkgoT().TempDir()
})

var _ = SynchronizedAfterSuite(func() {}, func() {
	if kit != nil {
		Expect(os.RemoveAll(kit.Dir())).To(Succeed())
	}
})

// standIn tells, before any spec runs, whether the product is a stand-in.
func standIn() bool { return os.Getenv("RUSTDESK_DEB") == "" }

// product names what is under test, in the names of containers.
func product() string { return (&rustdesk.Kit{StandIn: standIn()}).Product() }

// report adds a report entry that names the product.
func report(name string, value any) {
	GinkgoHelper()
	AddReportEntry(name+" ["+product()+"]", value)
}
