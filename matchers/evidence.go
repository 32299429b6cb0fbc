package matchers

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/onsi/gomega/format"
	"github.com/onsi/gomega/gbytes"
)

// Bounds of the output in a message.
const (
	maxLines = 40
	maxBytes = 2 << 10
)

// describe names the command, as far as actual tells it.
func describe(actual any) string {
	if named, ok := actual.(interface{ Command() string }); ok && named.Command() != "" {
		return clip(named.Command())
	}
	if named, ok := actual.(format.GomegaStringer); ok {
		return clip(named.GomegaString())
	}
	return fmt.Sprintf("<%T>", actual)
}

// outcome tells how and when the command ended.
func outcome(actual any) string {
	exiter, ok := actual.(Exiter)
	if !ok {
		return ""
	}
	code := exiter.ExitCode()
	if code == running {
		return "it still runs"
	}
	text := fmt.Sprintf("it exited with %d", code)
	if ended, ok := actual.(interface{ Signal() string }); ok && ended.Signal() != "" {
		text = fmt.Sprintf("signal %s ended it (exit code %d)", ended.Signal(), code)
	}
	if timed, ok := actual.(interface{ Duration() time.Duration }); ok && timed.Duration() > 0 {
		text += " after " + timed.Duration().Round(time.Millisecond).String()
	}
	return text
}

// outputs are the ends of what the command wrote.
func outputs(actual any) string {
	var out strings.Builder
	switch source := actual.(type) {
	case Outputter:
		section(&out, "stdout", source.Stdout())
	case gbytes.BufferProvider:
		section(&out, "stdout until now", string(source.Buffer().Contents()))
	}
	if source, ok := actual.(ErrorOutputter); ok {
		section(&out, "stderr", source.Stderr())
	}
	return out.String()
}

func section(out *strings.Builder, name, text string) {
	if text == "" {
		out.WriteString("\n" + name + " is empty")
		return
	}
	out.WriteString("\n" + name + ":\n" + indent(tail(text)))
}

// tail returns the end of text, within the bounds, after a line that tells how much is missing.
func tail(text string) string {
	text = strings.TrimRight(text, "\n")
	cut := max(0, len(text)-maxBytes)
	for lines, at := 0, len(text)-1; at >= cut; at-- {
		if text[at] != '\n' {
			continue
		}
		if lines++; lines == maxLines {
			cut = at + 1
			break
		}
	}
	for cut < len(text) && !utf8.RuneStart(text[cut]) {
		cut++
	}
	if cut == 0 {
		return text
	}
	return fmt.Sprintf("... %d bytes left out\n%s", cut, text[cut:])
}

// clip returns the beginning of text, for what is read from there.
func clip(text string) string {
	if len(text) <= maxBytes {
		return text
	}
	cut := maxBytes
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s... %d bytes left out", text[:cut], len(text)-cut)
}

// indent also replaces what is not text, so that a message cannot upset a terminal or an XML report.
func indent(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return utf8.RuneError
		}
		return r
	}, strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\r\n", "\n"))
	return format.Indent + strings.ReplaceAll(clean, "\n", "\n"+format.Indent)
}
