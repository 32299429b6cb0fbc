// Package rustdesk_test tests RustDesk in virtual machines, without a person at a console.
package rustdesk_test

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestRustDesk(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "RustDesk")
}
