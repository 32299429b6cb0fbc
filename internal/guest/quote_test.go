package guest

import (
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestQuote(t *testing.T) {
	g := NewWithT(t)
	for in, want := range map[string]string{
		"": "''", "plain-1.2/x_y": "plain-1.2/x_y", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "~": "'~'", "\xff": "'\xff'",
		"a=b": "'a=b'", "#": "'#'", "é": "'é'",
	} {
		g.Expect(quote(in)).To(Equal(want))
	}
	g.Expect(Cmd{Argv: []string{"sh", "-c", "exit 1"}}.String()).To(Equal("sh -c 'exit 1'"))
	long := Cmd{Argv: []string{"echo", strings.Repeat("x", 1<<20)}}.String()
	g.Expect(len(long)).To(BeNumerically("<", 300))
	g.Expect(long).To(And(HavePrefix("echo xxx"), ContainSubstring("(1048581 bytes)")))
}

// FuzzQuote compares what a real shell makes of a quoted word with the word.
func FuzzQuote(f *testing.F) {
	for _, seed := range []string{"", "'", "a'b", "\\", "\n", "$(id)", "\xff\xfe", "!", "-n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.IndexByte(word, 0) >= 0 || len(word) > 1000 {
			return
		}
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s\\| "+quote(word)+" "+quote(word)).Output()
		if err != nil || string(out) != word+"|"+word+"|" {
			t.Fatalf("%q: the shell made %q of it (%v)", word, out, err)
		}
	})
}

func TestShellOwnedVariables(t *testing.T) {
	g := NewWithT(t)
	exports, owned, err := splitEnv(map[string]string{"A": "1", "LANG": "x", "B": "old"}, map[string]string{"B": "n w", "UID": "5"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(exports).To(Equal([]string{"A=1", "B='n w'"}))
	g.Expect(owned).To(Equal([]string{"LANG=x", "UID=5"}))
}

func TestAnnouncementInPieces(t *testing.T) {
	g := NewWithT(t)
	all := "bash: warning\n" + "\x00ionlab 0123 4711\x00\nfirst\n"
	for cut := range len(all) {
		a := announcement{mark: "\x00ionlab 0123 "}
		var rest string
		var msg *message
		for _, part := range []string{all[:cut], all[cut:]} {
			m, r := a.feed([]byte(part))
			if m != nil {
				g.Expect(msg).To(BeNil())
				msg = m
			}
			rest += string(r)
		}
		g.Expect(msg).NotTo(BeNil())
		g.Expect(msg.pid).To(Equal("4711"))
		g.Expect(rest).To(Equal("first\n"))
	}
	a := announcement{mark: "M "}
	msg, _ := a.feed([]byte("M !chdir: no: way\n2nd\x00\n"))
	g.Expect(msg.failed).To(Equal(&LaunchError{Stage: "chdir", Detail: "no: way\n2nd"}))
	a = announcement{mark: "M "}
	for range 10 {
		a.feed([]byte(strings.Repeat("noise", 5000)))
	}
	g.Expect(len(a.buf)).To(BeNumerically("<=", maxPreamble+25000), "noise is bounded")
}
