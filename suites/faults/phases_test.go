package faults_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/suites/room"
)

// A phase of a lab's life in which its owner may die.
type phase struct {
	name   string
	begins string        // what the victim prints then
	length time.Duration // on the machine where it was measured; the kill comes within it
	few    int           // how often in a sample of ten
	many   int           // and in a hundred
}

func phases() []phase {
	return []phase{
		{name: "download", length: 1500 * time.Millisecond, few: 2, many: 20},
		{name: "bake", length: 20 * time.Second, few: 1, many: 8},
		{name: "boot", length: 25 * time.Second, few: 1, many: 10},
		// Each costs a whole cold boot before, so the sample has none: Snapshot saves by the same means.
		{name: "save", begins: "making a snapshot", length: 6 * time.Second, few: 0, many: 2},
		{name: "restore", length: 3 * time.Second, few: 2, many: 16},
		{name: "setup", length: 5 * time.Second, few: 1, many: 12}, // done, and saved for later starts
		{name: "snapshot", length: 4 * time.Second, few: 1, many: 8},
		{name: "revert", length: 3 * time.Second, few: 1, many: 12},
		{name: "close", length: 120 * time.Millisecond, few: 1, many: 12},
	}
}

// marker is what a victim prints when the phase begins.
func (p phase) marker() string {
	if p.begins != "" {
		return p.begins
	}
	return "PHASE " + p.name
}

// env is what a victim of the phase needs beside its room.
func (p phase) env() []string {
	if p.name == "download" || p.name == "bake" {
		return []string{"LABTEST_WARM=off"} // images are all that Prepare makes then
	}
	return nil
}

// A stage has the topologies of the phases.
type stage struct {
	in  room.Room
	url string // of an image, with its digest
}

// topology writes the topology for the n-th victim of the phase.
func (s stage) topology(p phase, n int) string {
	GinkgoHelper()
	node := "image: debian-12, memory_mb: 768"
	switch p.name {
	case "download":
		node = "image: '" + s.url + "', memory_mb: 128"
	case "bake": // another image each time: what is there already is not made
		node += ", packages: [" + strings.Join(somePackages(n), ", ") + "]"
	case "save": // another snapshot each time
		node = fmt.Sprintf("image: debian-12, memory_mb: %d", 512+n)
	}
	path := filepath.Join(s.in.Root, fmt.Sprintf("%s-%d.yaml", p.name, n))
	text := "metadata: {name: single}\nnodes:\n  - {name: solo, " + node + "}\n"
	Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
	return path
}

// forget removes the image that is downloaded: a victim may have lived to have it. What another has of it stays.
func (s stage) forget(ctx SpecContext, bin string) {
	_, _ = run(ctx, bin, s.in, "image", "rm", s.url)
}

// somePackages are small, and another set for each n below 31.
func somePackages(n int) []string {
	var set []string
	for bit, name := range []string{"bc", "dc", "hello", "pv", "time"} {
		if (n+1)>>bit&1 == 1 {
			set = append(set, name)
		}
	}
	return set
}

// serveImage serves a disk slowly on loopback, and returns its URL with its digest.
func serveImage() string {
	GinkgoHelper()
	disk := make([]byte, 16<<20)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(disk)
	copy(disk[446:], make([]byte, 64))
	disk[450], disk[510], disk[511] = 0x83, 0x55, 0xaa // one partition, and the mark of a boot sector
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "disk.raw", time.Time{}, &slow{Reader: strings.NewReader(string(disk)), tick: time.NewTicker(3 * time.Millisecond)})
	}))
	DeferCleanup(server.Close)
	return fmt.Sprintf("%s/disk.raw#sha256=%x", server.URL, sha256.Sum256(disk))
}

// slow is a reader of some megabytes a second.
type slow struct {
	*strings.Reader
	tick *time.Ticker
}

func (s *slow) Read(p []byte) (int, error) {
	<-s.tick.C
	return s.Reader.Read(p[:min(len(p), 32<<10)])
}
