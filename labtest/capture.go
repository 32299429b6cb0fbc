package labtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"ionlab/internal/fabric"
)

// Capture is a pcapng file that frames are written to. It ends with the spec, the container or the suite in which it
// began, and with the lab. It is safe for concurrent use.
type Capture struct {
	lab   *Lab
	inner *fabric.Capture
	file  *os.File
	once  sync.Once
	err   error
}

// Path is the file. It is complete when Close has returned.
func (c *Capture) Path() string { return c.file.Name() }

// Frames is how many frames have come by until now.
func (c *Capture) Frames() int { return c.inner.Frames() }

// Mark writes text between the frames, where Wireshark shows it as a comment (filter frame.comment).
func (c *Capture) Mark(text string) {
	c.lab.noteSteps()
	c.inner.Comment(text)
}

// Close ends the capture and completes the file. It may be called more than once.
func (c *Capture) Close() error {
	c.once.Do(func() {
		c.lab.noteSteps()
		c.lab.forget(c)
		if err := errors.Join(c.inner.Close(), c.file.Close()); err != nil {
			c.err = fmt.Errorf("capture %s: %w", c.Path(), err)
		}
	})
	return c.err
}

// begin starts a capture of something in the lab.
type begin func(context.Context, io.Writer, fabric.CaptureOptions) (*fabric.Capture, error)

func (l *Lab) capture(ctx context.Context, what string, start begin) (*Capture, error) {
	ginkgo.GinkgoHelper()
	report := ginkgo.CurrentSpecReport()
	_, running := runningNode(report)
	file, err := l.captureFile(report, what)
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", what, err)
	}
	// A capture outlives the node that begins it, as what a BeforeEach begins is for the It.
	inner, err := start(context.WithoutCancel(ctx), file, fabric.CaptureOptions{Comment: l.GomegaString() + " " + specName(report)})
	if err != nil {
		return nil, errors.Join(hopeless(err), file.Close(), os.Remove(file.Name()))
	}
	c := &Capture{lab: l, inner: inner, file: file}
	l.mu.Lock()
	l.captures = append(l.captures, c)
	l.mu.Unlock()
	if running {
		ginkgo.AddReportEntry("capture of "+what, c.Path())
		ginkgo.DeferCleanup(c.Close)
	}
	return c, nil
}

// captureFile makes a file among the artifacts of what runs now.
func (l *Lab) captureFile(report types.SpecReport, what string) (*os.File, error) {
	dir, err := l.artifacts(report)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		name := what + ".pcapng"
		if try > 1 {
			name = fmt.Sprintf("%s-%d.pcapng", what, try)
		}
		file, err := os.OpenFile(filepath.Join(dir.Path(), name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
}

// keepCapture is where a capture goes that the topology asks for.
func (l *Lab) keepCapture(network string) (io.WriteCloser, error) {
	report := ginkgo.CurrentSpecReport()
	file, err := l.captureFile(report, network)
	if err != nil {
		return nil, err
	}
	if _, running := runningNode(report); running {
		ginkgo.AddReportEntry("capture of "+network, file.Name(), ginkgo.ReportEntryVisibilityFailureOrVerbose)
	}
	return file, nil
}

// forget makes the lab's comments pass the capture by.
func (l *Lab) forget(c *Capture) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range l.captures {
		if other == c {
			l.captures = append(l.captures[:i:i], l.captures[i+1:]...)
			return
		}
	}
}

// closeCaptures is a part of close.
func (l *Lab) closeCaptures() error {
	l.mu.Lock()
	captures := l.captures
	l.captures = nil
	l.mu.Unlock()
	var errs []error
	for _, c := range captures {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// comment notes in the captures, and in what is kept for evidence, what happens now, after the steps that the spec has announced by ginkgo.By meanwhile.
func (l *Lab) comment(text string) {
	l.noteSteps()
	l.inner.Comment(string(l.redactor.Bytes([]byte(text))))
}

// noteSteps notes the spec's own steps that are not in the captures yet. Ginkgo calls nobody at a By, so that a step
// stands before the first thing that happens after it, with its own time.
func (l *Lab) noteSteps() {
	report := ginkgo.CurrentSpecReport()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, event := range report.SpecEvents {
		at := event.TimelineLocation
		if event.SpecEventType != types.SpecEventByStart || !at.Time.After(l.noted) {
			continue
		}
		l.noted = at.Time
		l.inner.Comment(fmt.Sprintf("step at %s: %s", at.Time.Format("15:04:05.000"), strings.TrimSpace(event.Message)))
	}
}
