// Package rustdesk_test tests RustDesk in virtual machines, without a person at a console: what RUSTDESK_DEB and
// RUSTDESK_SERVER_DEB name, or stand-ins. Every container and report line says which.
package rustdesk_test

import (
	"context"
	"encoding/json"
	"os"
	"sync"
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
	built, err := rustdesk.Build(ctx, dir, packages())
	if err != nil {
		Expect(os.RemoveAll(dir)).To(Succeed())
		Fail(err.Error()) // whoever gave the packages reads this: the text alone
	}
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

// packages are the product's that this run was given.
func packages() rustdesk.Packages {
	return rustdesk.Packages{Client: os.Getenv("RUSTDESK_DEB"), Server: os.Getenv("RUSTDESK_SERVER_DEB")}
}

// product tells, before any spec runs, what is under test: it is read off the packages once, and asked by every container. Wrong
// packages end the run later, in SynchronizedBeforeSuite.
var product = sync.OnceValue(func() rustdesk.Product {
	found, err := packages().Check(context.Background())
	if err != nil {
		return rustdesk.Product{Client: rustdesk.Origin{Version: "unknown"}, Server: rustdesk.Origin{Version: "unknown"}}
	}
	return found
})

// standIn tells, before any spec runs, whether the host is a stand-in.
func standIn() bool { return product().Client.StandIn }

// report adds a report entry that names the product.
func report(name string, value any) {
	GinkgoHelper()
	AddReportEntry(name+" ["+kit.Product.String()+"]", value)
}
