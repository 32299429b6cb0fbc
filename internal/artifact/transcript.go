package artifact

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Bounds of a Transcript whose fields do not say otherwise.
const (
	DefaultEntries = 2000
	DefaultBytes   = 4 << 20
)

// maxField is how many bytes of one text of an Entry are kept, from its end, or from its beginning for Detail.
const maxField = 4 << 10

// Entry is one operation on a lab or a node.
type Entry struct {
	Time      time.Time // when it began
	Duration  time.Duration
	Node      string // empty for the whole lab
	Operation string // such as exec or upload
	Detail    string // command line or paths
	ExitCode  int    // -1 for an operation that has none
	Stdout    string
	Stderr    string
	Err       error
}

// Transcript remembers the latest operations. The zero value is ready to use; its fields may be set before the first
// use only. All methods are safe for concurrent use.
type Transcript struct {
	MaxEntries int // 0 is DefaultEntries
	MaxBytes   int // of text; 0 is DefaultBytes

	mu      sync.Mutex
	entries []stored // oldest first, by the time they were added
	bytes   int
	dropped int
}

// stored is an Entry as text, so that nothing it refers to is kept or changes.
type stored struct {
	end  time.Time
	text string
}

// Add remembers e, which has ended, and forgets the oldest entries if there are too many.
func (t *Transcript) Add(e Entry) {
	item := stored{end: e.Time.Add(e.Duration), text: e.text()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, item)
	t.bytes += len(item.text)
	excess := 0
	for excess < len(t.entries)-1 && (len(t.entries)-excess > or(t.MaxEntries, DefaultEntries) || t.bytes > or(t.MaxBytes, DefaultBytes)) {
		t.bytes -= len(t.entries[excess].text)
		excess++
	}
	t.dropped += excess
	clear(t.entries[:excess])
	t.entries = t.entries[excess:]
}

func or(value, fallback int) int {
	if value > 0 {
		return value
	}
	return fallback
}

// Write writes all entries that are remembered as text, one block each, and first how many were forgotten.
func (t *Transcript) Write(w io.Writer) error { return t.WriteSince(w, time.Time{}) }

// WriteSince is Write for the entries that ended at or after since.
func (t *Transcript) WriteSince(w io.Writer, since time.Time) error {
	t.mu.Lock()
	dropped := t.dropped
	entries := append([]stored(nil), t.entries...)
	t.mu.Unlock()

	var out strings.Builder
	if dropped > 0 {
		fmt.Fprintf(&out, "[labtest: %d earlier operations left out]\n", dropped)
	}
	for _, entry := range entries {
		if !entry.end.Before(since) {
			out.WriteString(entry.text)
		}
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("write transcript: %w", err)
	}
	return nil
}

func (e Entry) text() string {
	var out strings.Builder
	node := e.Node
	if node == "" {
		node = "(lab)"
	}
	fmt.Fprintf(&out, "%s %s %s: %s", e.Time.Format("15:04:05.000"), node, e.Operation, oneLine(e.Detail))
	if e.ExitCode >= 0 {
		fmt.Fprintf(&out, " -> exit %d", e.ExitCode)
	}
	fmt.Fprintf(&out, " (%s)\n", e.Duration.Round(time.Millisecond))
	if e.Err != nil {
		block(&out, "error", e.Err.Error())
	}
	block(&out, "stdout", e.Stdout)
	block(&out, "stderr", e.Stderr)
	return out.String()
}

// oneLine bounds text and keeps it from looking like another entry.
func oneLine(text string) string {
	if len(text) > maxField {
		cut := maxField
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = fmt.Sprintf("%s... %d bytes left out", text[:cut], len(text)-cut)
	}
	return strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(text)
}

// block writes the end of text, indented under its name.
func block(out *strings.Builder, name, text string) {
	if text == "" {
		return
	}
	if len(text) > maxField {
		cut := len(text) - maxField
		for cut < len(text) && !utf8.RuneStart(text[cut]) {
			cut++
		}
		text = fmt.Sprintf("... %d bytes left out\n%s", cut, text[cut:])
	}
	out.WriteString("    " + name + ":\n")
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		out.WriteString("      " + strings.TrimRight(line, "\r\n") + "\n")
	}
}
