package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

// screen is a console with its file and the alarms it gave.
type screen struct {
	*console
	file   *os.File
	copied bytes.Buffer

	mu     sync.Mutex
	alarms []string
}

func newScreen(t testing.TB) *screen {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{file: file}
	s.console = newConsole(file.Name(), &s.copied, func(why string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.alarms = append(s.alarms, why)
	})
	t.Cleanup(func() {
		_ = file.Close()
		NewWithT(t).Expect(s.close()).To(Succeed())
		NewWithT(t).Expect(s.close()).To(Succeed(), "a second time")
	})
	return s
}

// emit writes each text and has it read before the next.
func (s *screen) emit(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		_, err := s.file.WriteString(text)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(s.read()).To(Succeed())
	}
}

func TestEveryMortalLineGivesAlarm(t *testing.T) {
	for _, m := range mortal {
		whole := "[   12.345678] " + m.text + " VFS: more"
		for name, writes := range map[string][]string{
			"a line":           {"hello\r\n" + whole + "\r\nafter\r\n"},
			"in two writes":    {whole[:len(whole)/2], whole[len(whole)/2:] + "\n"},
			"byte by byte":     strings.Split(whole+"\r\n", ""),
			"coloured":         {"\x1b[0;1;31m" + whole + "\x1b[0m\r\n"},
			"colour in two":    {"\x1b[0;1;", "31m" + whole + "\x1b[0", "m\r\n"},
			"after a progress": {"10%\r50%\r" + whole + "\n"},
		} {
			t.Run(m.text+" "+name, func(t *testing.T) {
				g := NewWithT(t)
				s := newScreen(t)
				s.emit(t, writes...)
				g.Expect(s.alarms).NotTo(BeEmpty())
				g.Expect(s.alarms[len(s.alarms)-1]).To(Equal(m.why + ": " + whole))
				for _, alarm := range s.alarms {
					g.Expect(alarm).NotTo(ContainSubstring("\x1b"), "a terminal would obey it")
				}
			})
		}
	}
}

func TestPromptsGiveAlarmWithoutAnEndOfLine(t *testing.T) {
	for _, prompt := range []string{"(initramfs) ", "dracut:/# "} {
		g := NewWithT(t)
		s := newScreen(t)
		s.emit(t, "BusyBox v1.35.0\r\n", prompt[:4])
		g.Expect(s.alarms).To(BeEmpty())
		s.emit(t, prompt[4:])
		g.Expect(s.alarms).To(ConsistOf(HaveSuffix(": " + strings.TrimSpace(prompt))))
	}
}

func TestOtherLinesGiveNoAlarm(t *testing.T) {
	s := newScreen(t)
	s.emit(t, "Run /init as init process\n", "systemd[1]: Reached target Emergency Mode dependency.\n",
		"login: (initramfs)\n", "panic: runtime error\n", "Kernel panic\n - not syncing\n", strings.Repeat("x", 100<<10)+"\n")
	NewWithT(t).Expect(s.alarms).To(BeEmpty())
}

func TestConsoleShowsPlainLines(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n":                             "plain",
		"\x1b[32mgreen\x1b[0m text\r\n":       "green text",
		"\x1b[?25h\x1b[2J\x1b[1;1Hlogin: ":    "login: ",
		"\x1b]0;a title\x07prompt":            "prompt",
		"\x1b]8;;https://x\x1b\\link\x1b]8;;": "link",
		"\x1b(Bcharset":                       "charset",
		"\x1b7saved\x1b8":                     "saved",
		"bell\x07 back\x08 nul\x00 del\x7f":   "bell back nul del",
		"tab\tstays":                          "tab\tstays",
		"cut \xff\xfe off":                    "cut ? off",
		"grüße":                               "grüße",
		"broken \x1b":                         "broken ",
		"broken \x1b[":                        "broken ",
		"end \x1b\nof line":                   "of line",
		"end \x1b[1;\nof line":                "of line",
		"broken \x1b[12;":                     "broken ",
	} {
		t.Run(fmt.Sprintf("%q", in), func(t *testing.T) {
			s := newScreen(t)
			s.emit(t, in)
			NewWithT(t).Expect(s.last(1)).To(Equal([]string{want}))
			NewWithT(t).Expect(s.copied.String()).To(Equal(in), "the copy is exact")
		})
	}
}

func TestConsoleKeepsTheLastLines(t *testing.T) {
	g := NewWithT(t)
	s := newScreen(t)
	g.Expect(s.last(3)).To(Equal([]string{""}))
	printed, grew := s.printed()
	g.Expect(printed).To(BeFalse())
	for i := range 20000 {
		_, _ = fmt.Fprintf(s.file, "line %d of many\n", i)
	}
	s.emit(t, "\n\n")
	g.Expect(grew).To(BeClosed())
	printed, _ = s.printed()
	g.Expect(printed).To(BeTrue())
	g.Expect(s.last(2)).To(Equal([]string{"line 19998 of many", "line 19999 of many"}))
	g.Expect(len(s.tail)).To(BeNumerically("<=", consoleTail))
	g.Expect(len(s.last(1 << 20))).To(BeNumerically(">", 1000))
	s.reset()
	printed, _ = s.printed()
	g.Expect(printed).To(BeFalse())
	s.emit(t, "next boot\n")
	g.Expect(s.last(5)).To(Equal([]string{"next boot"}))
}

func TestConsoleForgetsAnUnfinishedLineAtReset(t *testing.T) {
	s := newScreen(t)
	s.emit(t, "Kernel panic - ")
	s.reset()
	s.emit(t, "not syncing\n")
	NewWithT(t).Expect(s.alarms).To(BeEmpty())
}

func TestConsolesAreFollowed(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	all, err := watchConsoles(dir)
	g.Expect(err).NotTo(HaveOccurred())
	one := newConsole(filepath.Join(dir, "a.log"), nil, nil)
	other := newConsole(filepath.Join(dir, "never.log"), nil, nil)
	all.add(one)
	all.add(other)
	file, err := os.Create(one.path)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = file.Close() })
	for i := range 3 {
		_, err = fmt.Fprintf(file, "line %d\n", i)
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(func() []string { return one.last(1) }).WithTimeout(patience).Should(Equal([]string{fmt.Sprintf("line %d", i)}))
	}
	_, _ = fmt.Fprintln(file, "the last")
	g.Expect(all.Close()).To(Succeed())
	g.Expect(one.last(1)).To(Equal([]string{"the last"}), "Close takes a last look")
	g.Expect((*consoles)(nil).Close()).To(Succeed())
}

func TestWatchConsolesNamesTheFolder(t *testing.T) {
	_, err := watchConsoles("/nonexistent/folder")
	NewWithT(t).Expect(err).To(MatchError(HavePrefix("watch the consoles in /nonexistent/folder: ")))
}

func FuzzPlain(f *testing.F) {
	for _, m := range mortal {
		f.Add([]byte("\x1b[31m" + m.text + "\x1b]0;x\x07\x1b[0m"))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := plain(in)
		if len(out) > len(in) || strings.ContainsAny(out, "\x1b\x00\r\x07\x7f") {
			t.Fatalf("plain(%q) = %q", in, out)
		}
	})
}
