package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
)

// clock is a clock that stands still until it is set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func TestProgressInALog(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	c := newClock()
	p := &progress{out: &out, now: c.now}
	p.begin(t.Context())
	p.update(stage{who: "alice", what: "image", note: "debian-12"})
	for i := range int64(10) { // bytes that come fast are not told each time
		c.advance(time.Second)
		p.update(stage{who: "alice", what: "download", done: i << 20, total: 9 << 20})
	}
	p.update(stage{who: "bob", what: "unpack", note: "a.deb"})
	p.update(stage{who: "bob", what: "unpack", note: "b.deb"}) // too soon
	c.advance(5 * time.Second)
	p.update(stage{who: "bob", what: "unpack", note: "c.deb"})
	c.advance(time.Minute)
	p.update(stage{who: "bob", what: "unpack", note: "c.deb"}) // nothing new
	p.tell("alice", "ready")
	g.Expect(p.Close()).To(Succeed())
	g.Expect(p.Close()).To(Succeed())
	g.Expect(out.String()).To(Equal("" +
		"03:04:05 alice: image  debian-12\n" +
		"03:04:06 alice: download  0% of 9.0 MiB\n" +
		"03:04:11 alice: download  55% of 9.0 MiB\n" +
		"03:04:15 alice: download  100% of 9.0 MiB\n" +
		"03:04:15 bob: unpack  a.deb\n" +
		"03:04:20 bob: unpack  c.deb\n" +
		"03:05:20 alice: ready\n"))
}

func TestProgressOnATerminal(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	c := newClock()
	p := &progress{out: &out, now: c.now, size: func() int { return 50 }}
	p.stop = func() {} // no ticker: the test draws
	step := func() string { defer out.Reset(); return out.String() }

	p.update(stage{who: "alice", what: "waiting for sshd"})
	g.Expect(step()).To(Equal("alice      waiting for sshd  0.0 s\n"))
	c.advance(1500 * time.Millisecond)
	p.redraw()
	g.Expect(step()).To(Equal("\x1b[1F\x1b[Jalice      waiting for sshd  1.5 s\n"))
	p.update(stage{who: "bob", what: "download", done: 1 << 20, total: 4 << 20})
	g.Expect(step()).To(Equal("\x1b[1F\x1b[Jalice      waiting for sshd  1.5 s\nbob        download  25% of 4.0 MiB  0.0 s\n"),
		"one line for each that works")
	c.advance(time.Minute)
	p.update(stage{who: "alice", what: "login"})
	g.Expect(step()).To(HavePrefix("\x1b[2F\x1b[Jalice      waiting for sshd  1m2s\n"), "what is done stays, above the rest")
	p.tell("alice", "ready")
	g.Expect(step()).To(ContainSubstring("alice      ready\nbob "))
	p.update(stage{who: "bob", what: "a very long\x1b[2J stage", note: strings.Repeat("x", 100)})
	g.Expect(step()).To(HaveSuffix("bob        a very long [2J stage  xxxxx...  0.0 s\n"), "a line that wraps could not be erased")
	g.Expect(p.Close()).To(Succeed())
	g.Expect(step()).To(HavePrefix("\x1b[1F\x1b[Jbob        a very long"))
	p.redraw()
	g.Expect(step()).To(BeEmpty(), "nothing is drawn after the end")
}

func TestProgressEndsItsGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := NewWithT(t)
	p := &progress{out: &bytes.Buffer{}, now: time.Now, size: func() int { return 80 }}
	p.begin(t.Context())
	p.update(stage{who: "alice", what: "image"})
	g.Expect(p.Close()).To(Succeed())
	g.Expect((*progress)(nil).Close()).To(Succeed())
}

func TestByteSize(t *testing.T) {
	g := NewWithT(t)
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 20 << 30: "20.0 GiB", 5 << 50: "5120.0 TiB"} {
		g.Expect(byteSize(n)).To(Equal(want))
	}
}

func TestElapsed(t *testing.T) {
	g := NewWithT(t)
	for d, want := range map[time.Duration]string{1234 * time.Millisecond: "1.2 s", 59600 * time.Millisecond: "1m0s", 61 * time.Second: "1m1s"} {
		g.Expect(elapsed(d)).To(Equal(want))
	}
}
