package artifact

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Mask stands where a secret was.
const Mask = "[redacted]"

// minSecret is the shortest text in bytes that counts as a secret: to mask shorter ones would destroy the evidence.
const minSecret = 4

// minKeyLine is the shortest line in bytes of a secret of several lines that is masked by itself.
const minKeyLine = 16

// Redactor takes secrets out of bytes. It never changes, is safe for concurrent use, and nil takes nothing out.
type Redactor struct {
	secrets [][]byte // longest first
	first   [256]bool
}

// NewRedactor returns a Redactor for secrets. Texts of less than four bytes are not masked. Of a secret with several
// lines, such as a private key, each long line is masked by itself, because logs indent and prefix lines.
func NewRedactor(secrets []string) *Redactor { return (*Redactor)(nil).with(secrets) }

// with returns a Redactor for r's secrets and more.
func (r *Redactor) with(more []string) *Redactor {
	out := &Redactor{}
	if r != nil {
		out.secrets = append(out.secrets, r.secrets...)
	}
	for _, secret := range more {
		for _, piece := range pieces(secret) {
			out.secrets = append(out.secrets, []byte(piece))
		}
	}
	slices.SortFunc(out.secrets, func(a, b []byte) int {
		return cmp.Or(len(b)-len(a), bytes.Compare(a, b))
	})
	out.secrets = slices.CompactFunc(out.secrets, bytes.Equal)
	for _, secret := range out.secrets {
		out.first[secret[0]] = true
	}
	return out
}

func pieces(secret string) []string {
	secret = strings.TrimSpace(secret)
	if !strings.Contains(secret, "\n") {
		if len(secret) < minSecret {
			return nil
		}
		return []string{secret}
	}
	var out []string
	for line := range strings.Lines(secret) {
		line = strings.TrimSpace(line)
		if len(line) >= minKeyLine && !strings.HasPrefix(line, "-----") {
			out = append(out, line)
		}
	}
	return out
}

// Bytes returns p without secrets. It does not change p.
func (r *Redactor) Bytes(p []byte) []byte {
	if r == nil || len(r.secrets) == 0 {
		return p
	}
	out, _ := r.mask(nil, p, len(p))
	return out
}

// Writer returns a writer that passes on to w what is no secret, however the pieces are cut. Its last bytes reach w
// when it is closed; w is not closed.
func (r *Redactor) Writer(w io.Writer) *RedactingWriter { return &RedactingWriter{redactor: r, w: w} }

// mask appends to out what p holds, with secrets masked, for all places before end, and tells where it stopped.
func (r *Redactor) mask(out, p []byte, end int) (masked []byte, stopped int) {
	at := 0
	for at < end {
		if r.first[p[at]] {
			if n := r.match(p[at:]); n > 0 {
				out = append(out, Mask...)
				at += n
				continue
			}
		}
		out = append(out, p[at])
		at++
	}
	return out, at
}

// match returns the length of the longest secret that p starts with.
func (r *Redactor) match(p []byte) int {
	for _, secret := range r.secrets {
		if bytes.HasPrefix(p, secret) {
			return len(secret)
		}
	}
	return 0
}

// RedactingWriter masks secrets in a stream. One goroutine at a time may use it.
type RedactingWriter struct {
	redactor *Redactor
	w        io.Writer
	pending  []byte // may be the beginning of a secret
}

// Write passes on what cannot be part of a secret that is still to come.
func (w *RedactingWriter) Write(p []byte) (int, error) {
	if w.redactor == nil || len(w.redactor.secrets) == 0 {
		return w.w.Write(p)
	}
	w.pending = append(w.pending, p...)
	longest := len(w.redactor.secrets[0])
	if err := w.pass(len(w.pending) - longest + 1); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close passes on the rest. It may be called again.
func (w *RedactingWriter) Close() error {
	if w == nil {
		return nil
	}
	return w.pass(len(w.pending))
}

func (w *RedactingWriter) pass(end int) error {
	if end <= 0 {
		return nil
	}
	masked, stopped := w.redactor.mask(nil, w.pending, end)
	w.pending = append(w.pending[:0], w.pending[stopped:]...)
	if _, err := w.w.Write(masked); err != nil {
		return fmt.Errorf("write redacted text: %w", err)
	}
	return nil
}
