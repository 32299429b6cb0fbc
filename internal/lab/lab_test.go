package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"ionlab/internal/topology"
)

// patience bounds what takes milliseconds, or a few seconds on a busy machine with the race detector.
const patience = time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // these tests wait more than they compute
	goleak.VerifyTestMain(m)
}

// one and two are the topologies of most tests.
const (
	one = "metadata: {name: one}\nnodes: [{name: alice, memory_mb: 128}]"
	two = "metadata: {name: two}\nnodes: [{name: alice, memory_mb: 128}, {name: bob, memory_mb: 128}]"
)

// bench is a lab on a fake host, and what it told.
type bench struct {
	*Lab
	t    testing.TB
	host *fakeHost

	mu     sync.Mutex
	events []Event
}

// newBench makes a lab that the test closes, and checks that nothing of it stays.
func newBench(t testing.TB, text string, change func(*Config)) *bench {
	t.Helper()
	dirs := testDirs(t)
	t.Cleanup(func() { NewWithT(t).Expect(files(t, dirs)).To(BeEmpty(), "what the lab left on disk") })
	return newBenchIn(t, dirs, text, change)
}

func newBenchIn(t testing.TB, dirs Dirs, text string, change func(*Config)) *bench {
	t.Helper()
	g := NewWithT(t)
	topo, err := topology.Parse("test.yaml", []byte(text))
	g.Expect(err).NotTo(HaveOccurred())
	b := &bench{t: t, host: newFakeHost(t)}
	cfg := Config{
		Topology: topo, Dirs: dirs, Log: slog.New(slog.DiscardHandler), Host: b.host, Owner: "a test", Progress: b.progress,
		Account:   func() (*Account, error) { return nil, nil },
		ColdStart: true, // tests of warm starts say otherwise
	}
	if change != nil {
		change(&cfg)
	}
	b.Lab, err = New(cfg)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		g := NewWithT(t)
		g.Expect(b.Close()).To(Succeed())
		g.Expect(files(t, dirs)).NotTo(ContainElement(b.ID()), "what the lab left on disk")
	})
	return b
}

// testDirs are folders with short paths: those of sockets end at 107 bytes.
func testDirs(t testing.TB) Dirs {
	t.Helper()
	root, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	return Dirs{Run: filepath.Join(root, "r"), State: filepath.Join(root, "s"), Cache: filepath.Join(root, "c")}
}

// files lists what is in the folders of running labs, but for the lock over them, the ledger of memory and the turns to boot.
func files(t testing.TB, dirs Dirs) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{dirs.Run, dirs.State} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !slices.Contains([]string{".lock", ".memory", ".boots"}, entry.Name()) {
				found = append(found, entry.Name())
			}
		}
	}
	return found
}

func (b *bench) progress(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// told are the lab's events so far, as "node: stage note".
func (b *bench) told() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, e := range b.events {
		out = append(out, strings.TrimSpace(e.Node+": "+e.Stage+" "+e.Note))
	}
	return out
}

// up starts the lab, which must work.
func (b *bench) up() {
	b.t.Helper()
	NewWithT(b.t).Expect(b.Start(within(b.t))).To(Succeed())
}

func (b *bench) node(name string) *Node {
	b.t.Helper()
	node, err := b.Node(name)
	NewWithT(b.t).Expect(err).NotTo(HaveOccurred())
	return node
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// growing tries something under longer and longer limits until it returns nil. What it shows has to come in time, and
// how much time that is depends on how busy the machine is.
func growing(try func(limit time.Duration) error) error {
	var err error
	for limit := 400 * time.Millisecond; limit < patience/2; limit *= 4 {
		if err = try(limit); err == nil {
			return nil
		}
	}
	return err
}

// lacks returns an error that names the texts which an error should contain and does not.
func lacks(err error, texts ...string) error {
	var missing []error
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			missing = append(missing, fmt.Errorf("%q is not in: %w", text, err))
		}
	}
	return errors.Join(missing...)
}

// status of a node, for Eventually.
func status(n *Node) func() string {
	return func() string { text, _ := n.Status(); return text }
}
