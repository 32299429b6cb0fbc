package matchers_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
)

// result has all that a labtest result has.
type result struct {
	code           int
	stdout, stderr string
	command        string
	signal         string
	took           time.Duration
}

func (r *result) ExitCode() int           { return r.code }
func (r *result) Stdout() string          { return r.stdout }
func (r *result) Stderr() string          { return r.stderr }
func (r *result) Command() string         { return r.command }
func (r *result) Signal() string          { return r.signal }
func (r *result) Duration() time.Duration { return r.took }

// handle is a command that may still run.
type handle struct {
	mu   sync.Mutex
	code int
	out  *gbytes.Buffer
}

func (h *handle) Buffer() *gbytes.Buffer { return h.out }
func (h *handle) GomegaString() string   { return "<command on desk>" }

func (h *handle) ExitCode() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.code
}

func (h *handle) exit(code int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.code = code
}

// recorder takes failures instead of ending the test.
type recorder struct{ messages []string }

func record() (*recorder, gomega.Gomega) {
	r := &recorder{}
	return r, gomega.NewGomega(func(message string, _ ...int) { r.messages = append(r.messages, message) })
}

// only returns the one failure that there must be.
func (r *recorder) only(t *testing.T) string {
	t.Helper()
	if len(r.messages) != 1 {
		t.Fatalf("want one failure, got %d:\n%s", len(r.messages), strings.Join(r.messages, "\n---\n"))
	}
	return r.messages[0]
}
