//go:build sshd

package guest

import (
	"errors"
	"os"
	"strconv"
	"testing"

	. "github.com/onsi/gomega"
)

// TestOtherUser needs root, as ionlab has in a guest.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("run with the tag sshd as root")
	}
	g := NewWithT(t)
	c := newClient(t, realSSHD(t).config)
	res, err := c.Run(soon(t), Cmd{
		User: "nobody", Shell: `id -un; id -gn; echo "$HOME $USER $LOGNAME"; pwd; echo "$X"`,
		Env: map[string]string{"X": "a b"},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Stdout()).To(Equal("nobody\nnogroup\n/nonexistent nobody nobody\n/\na b\n"))
	res, err = c.Run(soon(t), Cmd{User: "nobody", Shell: "kill -TERM $$"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Signal()).To(Equal("SIGTERM"))
	res, err = c.Run(soon(t), Cmd{User: "nobody", Argv: []string{"none"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.ExitCode()).To(Equal(127))
	_, err = c.Run(soon(t), Cmd{User: "no-such-user", Argv: []string{"true"}})
	var failed *LaunchError
	g.Expect(errors.As(err, &failed)).To(BeTrue())
	g.Expect(failed.Error()).To(Equal("user: the guest has no user no-such-user"))

	p, err := c.Start(soon(t), Cmd{User: "nobody", Shell: "sleep 300 & sleep 300"})
	g.Expect(err).NotTo(HaveOccurred())
	pid, err := strconv.Atoi(p.PID())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.Close()).To(Succeed())
	g.Expect(alive(pid)).To(BeFalse())
}
