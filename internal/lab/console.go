package lab

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// consoleTail is how much of a serial console is kept at hand for messages; the whole is in its file.
const consoleTail = 256 << 10

// console is what a node printed on its serial port. It is safe for concurrent use.
type console struct {
	path string

	mu     sync.Mutex
	file   *os.File
	tail   []byte
	line   []byte // the line that is being printed
	sink   io.Writer
	grew   chan struct{} // closed and renewed when something was printed
	alarm  func(string)
	silent bool // nothing was printed since the last reset

	sshFailure sighting
}

// sighting is a line that the console printed, and when.
type sighting struct {
	line string // empty: there was none
	at   time.Time
}

func newConsole(path string, sink io.Writer, alarm func(string)) *console {
	return &console{path: path, sink: sink, alarm: alarm, grew: make(chan struct{}), silent: true}
}

// read takes in what the file has more than before.
func (c *console) read() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		file, err := os.Open(c.path)
		if err != nil {
			return err
		}
		c.file = file
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := c.file.Read(buf)
		if n > 0 {
			c.take(buf[:n])
		}
		if errors.Is(err, io.EOF) || n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *console) take(p []byte) {
	c.silent = false
	c.tail = append(c.tail, p...)
	if over := len(c.tail) - consoleTail; over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	if c.sink != nil {
		_, _ = c.sink.Write(p) // a buffer in memory; a closed one wants nothing more
	}
	c.scan(p)
	close(c.grew)
	c.grew = make(chan struct{})
}

// scan looks at each finished line, and at the one being printed: a rescue shell's prompt has no end of line.
func (c *console) scan(p []byte) {
	for _, b := range p {
		if b == '\n' || b == '\r' {
			line := plain(c.line)
			c.check(line, wholeLine)
			c.noteSSH(line)
			c.line = c.line[:0]
			continue
		}
		if len(c.line) < 512 {
			c.line = append(c.line, b)
		}
	}
	c.check(plain(c.line), promptSoFar)
}

// extent says how much of a line there is: what follows a panic's first words names its cause.
type extent int

const (
	wholeLine extent = iota
	promptSoFar
)

func (c *console) check(line string, have extent) {
	if why := verdict(line, have); why != "" && c.alarm != nil {
		c.alarm(why)
	}
}

// noteSSH remembers that systemd said that the SSH server failed. It may start it again, so that nothing is lost yet.
func (c *console) noteSSH(line string) {
	if _, what, found := strings.Cut(line, "Failed to start "); found && strings.HasPrefix(what, "ssh") {
		c.sshFailure = sighting{strings.TrimSpace(line), time.Now()}
	}
}

// failedSSH is the last word that the SSH server failed.
func (c *console) failedSSH() sighting {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sshFailure
}

const nothingToBoot = "its firmware found nothing to boot (wrong firmware for this image? BIOS and UEFI differ)"

// mortal are the lines after which a guest does not come back by itself. A prompt has no end of line.
var mortal = []struct { //nolint:gochecknoglobals // a constant table.
	text, why string
	have      extent
}{
	{"Kernel panic - not syncing", "its kernel panicked", wholeLine},
	{"---[ end Kernel panic", "its kernel panicked", wholeLine},
	{"You are in emergency mode", "it booted into systemd's emergency shell", wholeLine},
	{"You are in rescue mode", "it booted into systemd's rescue shell", wholeLine},
	{"(initramfs) ", "it stopped in the initramfs shell: its root disk was not found", promptSoFar},
	{"Dropping to a shell!", "it stopped in the initramfs shell: its root disk was not found", wholeLine},
	{"dracut:/#", "it stopped in the dracut shell: its root disk was not found", promptSoFar},
	{"No bootable device", nothingToBoot, wholeLine},                             // SeaBIOS
	{"BdsDxe: No bootable option or device was found", nothingToBoot, wholeLine}, // OVMF without a shell
	{`"EFI Internal Shell" from Fv(`, nothingToBoot, wholeLine},                  // OVMF with one, which comes last
}

// verdict says why the line means that the guest is lost; empty if it does not. Lines of the kernel's own oops
// report carry "Kernel panic" after a time stamp, so the text may stand anywhere in the line.
func verdict(line string, have extent) string {
	for _, m := range mortal {
		if strings.Contains(line, m.text) && (have == wholeLine || m.have == promptSoFar) {
			return m.why + ": " + strings.TrimSpace(line)
		}
	}
	return ""
}

// reset forgets what an earlier boot printed.
func (c *console) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail, c.line, c.silent, c.sshFailure = nil, c.line[:0], true, sighting{}
}

// last returns the last n lines, without terminal control.
func (c *console) last(n int) []string {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	text := plain(c.tail)
	c.mu.Unlock()
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return lines
}

// printed returns whether anything was printed, and a channel that is closed when more is.
func (c *console) printed() (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.silent, c.grew
}

func (c *console) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return err
}

// plain drops what a terminal would obey: ANSI sequences, carriage returns and other control characters.
func plain(p []byte) string {
	var out strings.Builder
	for i := 0; i < len(p); i++ {
		switch b := p[i]; {
		case b == 0x1b:
			i = skipEscape(p, i)
		case b == '\n' || b == '\t' || b >= 0x20 && b != 0x7f:
			out.WriteByte(b)
		}
	}
	return strings.ToValidUTF8(out.String(), "?")
}

// skipEscape returns the index of the last byte of the escape sequence that begins at i (ECMA-48, 5.4 and 5.6). One
// that is cut off ends before the next control character: it must not take a line's end along.
func skipEscape(p []byte, i int) int {
	i++
	if i == len(p) || p[i] < 0x20 {
		return i - 1
	}
	switch p[i] {
	case '[':
		for i++; i < len(p) && p[i] >= 0x20; i++ {
			if p[i] >= 0x40 {
				return i
			}
		}
		return i - 1
	case ']', 'P', 'X', '^', '_': // text for the terminal, such as a title, up to BEL or ESC and a backslash
		for i++; i < len(p) && p[i] >= 0x20; i++ {
		}
		switch {
		case i < len(p) && p[i] == 0x07:
			return i
		case i+1 < len(p) && p[i] == 0x1b && p[i+1] == '\\':
			return i + 1
		}
		return i - 1
	}
	for i < len(p) && p[i] >= 0x20 && p[i] <= 0x2f { // as in the choice of a character set
		i++
	}
	return i
}
