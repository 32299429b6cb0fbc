package guest

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestRunQuick(t *testing.T) {
	g := NewWithT(t)
	s := newServer(t)
	c := newClient(t, s.config())
	res, err := c.Run(soon(t), Cmd{Argv: []string{"printf", "%s|", "a b", "", "$x", "it's", "\n", "\xff"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Stdout()).To(Equal("a b||$x|it's|\n|\xff|"))
	g.Expect(res.Stderr()).To(Equal(""))
	g.Expect(res.ExitCode()).To(Equal(0))
	res, err = c.Run(soon(t), Cmd{Shell: "echo out; echo err >&2; kill -TERM $$"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.ExitCode()).To(Equal(143))
	g.Expect(res.Signal()).To(Equal("SIGTERM"))
	g.Expect(res.Stdout()).To(Equal("out\n"))
	g.Expect(res.Stderr()).To(Equal("err\n"))
	g.Expect(c.WriteFile(soon(t), "x/y z/f", []byte(strings.Repeat("a", 100000)), 0o640)).To(Succeed())
	data, err := c.ReadFile(soon(t), "x/y z/f")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(data).To(HaveLen(100000))
	began := time.Now()
	_, err = c.Run(soon(t), Cmd{Shell: "sleep 1000 & sleep 100", Timeout: 300 * time.Millisecond})
	g.Expect(err).To(MatchError(ContainSubstring("timed out")))
	t.Log(time.Since(began), err)
	res, err = c.Run(soon(t), Cmd{Shell: "echo hi; sleep 3 &"})
	g.Expect(err).NotTo(HaveOccurred())
	t.Log(res.Duration())
}
