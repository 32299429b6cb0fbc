//go:build !sshd

package guest

import "testing"

// targets are the guests that the table tests run against; with the build tag sshd, a real OpenSSH server is one.
func targets(t testing.TB) map[string]target {
	t.Helper()
	return map[string]target{"in-process": inProcess(t)}
}
