package lab

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestIsStray(t *testing.T) {
	const run = "/run/labtest/abc123"
	for line, want := range map[string]bool{
		"/usr/bin/qemu-system-x86_64 -netdev stream,addr.path=/run/labtest/abc123/f/l0.sock":  true,
		"/usr/bin/qemu-system-x86_64 -netdev stream,addr.path=/run/labtest/abc1234/f/l0.sock": false,
		"/usr/bin/qemu-system-x86_64 -netdev stream,addr.path=/run/labtest/def456/f/l0.sock":  false,
		"ssh -F /run/labtest/abc123/ssh_config alice":                                         false,
		"": false,
	} {
		NewWithT(t).Expect(isStray([]byte(strings.ReplaceAll(line, " ", "\x00")), run)).To(Equal(want), line)
	}
}
