package artifact

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const testKey = `-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE
bm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQy
NTU=
-----END OPENSSH PRIVATE KEY-----
`

func TestRedactorMasksSecrets(t *testing.T) {
	cases := map[string]struct {
		secrets    []string
		text, want string
	}{
		"twice":           {[]string{"hunter22"}, "a hunter22 b hunter22", "a [redacted] b [redacted]"},
		"longest first":   {[]string{"pass", "password"}, "my password", "my [redacted]"},
		"too short":       {[]string{"abc", ""}, "abc", "abc"},
		"none":            {nil, "text", "text"},
		"spaces around":   {[]string{" hunter22\n"}, "hunter22", "[redacted]"},
		"overlap":         {[]string{"aaab"}, "aaaaab", "aa[redacted]"},
		"a key, indented": {[]string{testKey}, "  b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\nx: NTU=", "  [redacted]\nx: NTU="},
	}
	for name, test := range cases {
		g := NewWithT(t)
		redactor := NewRedactor(test.secrets)
		text := []byte(test.text)
		g.Expect(string(redactor.Bytes(text))).To(Equal(test.want), name)
		g.Expect(string(text)).To(Equal(test.text), "the argument must not change")
	}
}

func TestRedactorNilMasksNothing(t *testing.T) {
	g := NewWithT(t)
	var redactor *Redactor
	g.Expect(string(redactor.Bytes([]byte("x")))).To(Equal("x"))
	var none *RedactingWriter
	g.Expect(none.Close()).To(Succeed())
}

// FuzzRedactingWriter checks that a stream is masked as the whole text is, wherever it is cut.
func FuzzRedactingWriter(f *testing.F) {
	f.Add("xx secret yy secretary", "secret", "secretary", 3)
	f.Add("aaaaab", "aaab", "aaaa", 1)
	f.Fuzz(func(t *testing.T, text, one, two string, piece int) {
		redactor := NewRedactor([]string{one, two})
		want := string(redactor.Bytes([]byte(text)))
		var got bytes.Buffer
		w := redactor.Writer(&got)
		for rest := []byte(text); len(rest) > 0; {
			n := min(max(piece%7, 1), len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := errors.Join(w.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if got.String() != want {
			t.Errorf("stream gave %q, whole text %q", got.String(), want)
		}
		if one = strings.TrimSpace(one); len(one) >= minSecret && !strings.Contains(one, "\n") &&
			!strings.Contains(Mask, one) && strings.Contains(strings.ReplaceAll(want, Mask, "\x00"), one) {
			t.Errorf("secret %q survived in %q", one, want)
		}
	})
}

func TestSecretsNeverReachTheDisk(t *testing.T) {
	g := NewWithT(t)
	dir := newDir(t)
	dir.Redact([]string{testKey})
	dir.Redact([]string{"hunter22"})
	g.Expect(dir.Save(t.Context(), "log", 1<<20, content("pw=hunter22\n"+testKey))).To(Succeed())
	g.Expect(read(t, dir, "log")).To(Equal("pw=[redacted]\n-----BEGIN OPENSSH PRIVATE KEY-----\n[redacted]\n[redacted]\nNTU=\n-----END OPENSSH PRIVATE KEY-----\n"))
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestRedactingWriterTellsOfErrors(t *testing.T) {
	g := NewWithT(t)
	w := NewRedactor([]string{"secret"}).Writer(brokenWriter{})
	_, err := w.Write([]byte("some long text"))
	g.Expect(err).To(MatchError("write redacted text: disk full"))
	g.Expect(w.Close()).To(MatchError("write redacted text: disk full"))
}
