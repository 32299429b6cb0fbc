package artifact

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func textOf(t *testing.T, transcript *Transcript, since time.Time) string {
	t.Helper()
	var out strings.Builder
	if err := transcript.WriteSince(&out, since); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTranscriptReads(t *testing.T) {
	g := NewWithT(t)
	at := time.Date(2026, 3, 1, 12, 30, 1, 250e6, time.UTC)
	var transcript Transcript
	transcript.Add(Entry{
		Time: at, Duration: 1500 * time.Millisecond, Node: "desk", Operation: "exec", Detail: "systemctl is-active 'x\ny'",
		ExitCode: 3, Stdout: "inactive\n", Stderr: "one\r\ntwo\n",
	})
	transcript.Add(Entry{
		Time: at, Duration: 2 * time.Millisecond, Operation: "partition", Detail: "a | b", ExitCode: -1, Err: errors.New("no such node"),
	})
	g.Expect(textOf(t, &transcript, time.Time{})).To(Equal(`12:30:01.250 desk exec: systemctl is-active 'x\ny' -> exit 3 (1.5s)
    stdout:
      inactive
    stderr:
      one
      two
12:30:01.250 (lab) partition: a | b (2ms)
    error:
      no such node
`))
	var all strings.Builder
	g.Expect(transcript.Write(&all)).To(Succeed())
	g.Expect(all.String()).To(Equal(textOf(t, &transcript, time.Time{})))
}

func TestTranscriptSince(t *testing.T) {
	g := NewWithT(t)
	at := time.Unix(1000, 0)
	var transcript Transcript
	transcript.Add(Entry{Time: at, Duration: time.Second, Detail: "before"})
	transcript.Add(Entry{Time: at, Duration: 5 * time.Second, Detail: "across"})
	transcript.Add(Entry{Time: at.Add(3 * time.Second), Detail: "after"})
	text := textOf(t, &transcript, at.Add(2*time.Second))
	g.Expect(text).To(And(Not(ContainSubstring("before")), ContainSubstring("across"), ContainSubstring("after")))
}

func TestTranscriptForgetsTheOldest(t *testing.T) {
	g := NewWithT(t)
	byCount := &Transcript{MaxEntries: 3}
	byBytes := &Transcript{MaxBytes: 3 * len(Entry{Detail: "0"}.text())}
	for _, transcript := range []*Transcript{byCount, byBytes} {
		for i := range 10 {
			transcript.Add(Entry{Detail: fmt.Sprint(i)})
		}
		text := textOf(t, transcript, time.Time{})
		g.Expect(text).To(HavePrefix("[labtest: 7 earlier operations left out]\n"))
		g.Expect(strings.Count(text, "exit 0")).To(Equal(3))
		g.Expect(text).To(And(ContainSubstring(": 7 ->"), ContainSubstring(": 9 ->")))
	}
}

func TestTranscriptBoundsEachText(t *testing.T) {
	g := NewWithT(t)
	transcript := &Transcript{MaxBytes: 1}
	transcript.Add(Entry{Stdout: strings.Repeat("é", maxField) + "end", Detail: strings.Repeat("é", maxField)})
	text := textOf(t, transcript, time.Time{})
	g.Expect(len(text)).To(BeNumerically("<", 3*maxField), "the latest entry is kept, but not all of it")
	g.Expect(text).To(ContainSubstring("end\n"))
	g.Expect(text).To(ContainSubstring("      ... 4100 bytes left out\n"))
	g.Expect(text).To(ContainSubstring("... 4096 bytes left out ->"))
	g.Expect(strings.ToValidUTF8(text, "?")).To(Equal(text))
}

func TestTranscriptFromManyGoroutines(t *testing.T) {
	g := NewWithT(t)
	transcript := &Transcript{MaxEntries: 50}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			transcript.Add(Entry{Detail: fmt.Sprint(i)})
			_ = textOf(t, transcript, time.Time{})
		})
	}
	wg.Wait()
	g.Expect(textOf(t, transcript, time.Time{})).To(HavePrefix("[labtest: 50 earlier operations left out]\n"))
}

func TestTranscriptTellsOfErrors(t *testing.T) {
	NewWithT(t).Expect((&Transcript{}).Write(brokenWriter{})).To(MatchError("write transcript: disk full"))
}
