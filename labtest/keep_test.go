package labtest

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestLabsOfAFailedSpecAreHeldForATime(t *testing.T) {
	g := NewWithT(t)
	root, err := os.MkdirTemp("", "lt")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	l, err := networksOnly(root, site)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(l.close()).To(Succeed()) })

	var out bytes.Buffer
	began := time.Now()
	hold(within(t), []*Lab{l}, 50*time.Millisecond, &out)
	g.Expect(time.Since(began)).To(BeNumerically(">=", 50*time.Millisecond))
	g.Expect(out.String()).To(And(
		MatchRegexp(`LABTEST_KEEP=50ms: a spec has failed, and its labs stay until \d\d:\d\d:\d\d\. \^C ends them`),
		ContainSubstring("lab "+l.ID()+" (site)\n  labtest ssh "+l.ID()+" alice    or: ssh -F "+l.SSHConfig()+" alice\n")))

	ctx, cancel := context.WithCancel(within(t))
	cancel()
	began = time.Now()
	hold(ctx, []*Lab{l}, time.Hour, &out)
	hold(within(t), nil, time.Hour, &out)
	hold(within(t), []*Lab{l}, 0, &out)
	g.Expect(time.Since(began)).To(BeNumerically("<", patience), "the end of the run ends it, and so do no labs and no time")
}

func TestForHowLongLabsAreHeld(t *testing.T) {
	g := NewWithT(t)
	for text, want := range map[string]time.Duration{"": 0, "30m": 30 * time.Minute, "0s": 0} {
		t.Setenv(keepVariable, text)
		g.Expect(keepFor()).To(Equal(want))
	}
	for _, text := range []string{"30", "-1m", "long"} {
		t.Setenv(keepVariable, text)
		_, err := newLab("../topologies/single.yaml", nil)
		g.Expect(err).To(MatchError(`LABTEST_KEEP="` + text + `": give for how long the labs of a failed spec are kept, for example 30m`))
	}
}
