package house_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"ionlab/internal/topology"
)

// A block is a fenced code block of a page. Its kind is the whole info string, such as "yaml topology".
type block struct {
	page string
	line int // of its first line of text
	kind string
	text string
}

func (b block) at() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// pages are README.md and docs/*.md by their names in the module, with their texts.
func pages(t *testing.T) map[string]string {
	t.Helper()
	g := NewWithT(t)
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	g.Expect(err).NotTo(HaveOccurred())
	texts := map[string]string{}
	for _, path := range append(paths, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		name, err := filepath.Rel(root, path)
		g.Expect(err).NotTo(HaveOccurred())
		texts[filepath.ToSlash(name)] = string(text)
	}
	return texts
}

// blocksOf cuts out the fenced blocks of a page.
func blocksOf(page, text string) []block {
	var all []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{page: page, line: i + 2, kind: kind}
		case fence:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return all
}

// blocks are those of all pages whose kind is the given one.
func blocks(t *testing.T, kind string) []block {
	t.Helper()
	var found []block
	for page, text := range pages(t) {
		for _, b := range blocksOf(page, text) {
			if b.kind == kind {
				found = append(found, b)
			}
		}
	}
	slices.SortFunc(found, func(a, b block) int { return strings.Compare(a.at(), b.at()) })
	return found
}

func TestTopologiesInDocsLoad(t *testing.T) {
	g := NewWithT(t)
	found := blocks(t, "yaml topology")
	g.Expect(len(found)).To(BeNumerically(">", 5), "hardly any block is marked ```yaml topology")
	for _, b := range found {
		_, err := topology.Parse("example.yaml", []byte(b.text))
		g.Expect(err).NotTo(HaveOccurred(), b.at())
	}
}

// A block marked as broken is followed by what `labtest validate` says of it.
func TestBrokenTopologiesInDocsSayWhatDocsSay(t *testing.T) {
	g := NewWithT(t)
	seen := 0
	for page, text := range pages(t) {
		all := blocksOf(page, text)
		for i, b := range all {
			if b.kind != "yaml broken" {
				continue
			}
			seen++
			g.Expect(i+1).To(BeNumerically("<", len(all)), b.at()+" has no block with its messages behind it")
			_, err := topology.Parse("example.yaml", []byte(b.text))
			g.Expect(err).To(MatchError(strings.TrimSpace(all[i+1].text)), b.at())
		}
	}
	g.Expect(seen).To(BeNumerically(">", 1), "no block is marked ```yaml broken")
}

func TestPresetTableIsTheCodes(t *testing.T) {
	g := NewWithT(t)
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9.]+) \\| ([0-9.]+) \\| ([0-9.]+) \\| ([0-9]+|unlimited) \\|$")
	var documented []topology.Preset
	for _, cells := range row.FindAllStringSubmatch(pages(t)["docs/topology.md"], -1) {
		number := func(text string) float64 {
			if text == "unlimited" {
				return 0
			}
			value, err := strconv.ParseFloat(text, 64)
			g.Expect(err).NotTo(HaveOccurred())
			return value
		}
		milliseconds := func(text string) time.Duration { return time.Duration(number(text) * float64(time.Millisecond)) }
		documented = append(documented, topology.Preset{Name: cells[1], Impairment: topology.Impairment{
			Delay: milliseconds(cells[2]), Jitter: milliseconds(cells[3]), LossPercent: number(cells[4]), RateKbps: number(cells[5]),
		}})
	}
	g.Expect(documented).To(Equal(topology.Presets()))
}

// places are the mappings of a topology, by the headings of docs/topology.md, with a file that has a key there.
func places() map[string]string {
	return map[string]string{
		"The file":       "%s\nnodes: [{name: a}]",
		"metadata":       "metadata:\n  %s\nnodes: [{name: a}]",
		"networks":       "networks:\n- name: lan\n  subnet: 10.1.0.0/24\n  %s\nnodes: [{name: a}]",
		"routers":        "routers:\n- name: r\n  inside: lan\n  outside: lan\n  %s\nnodes: [{name: a}]",
		"nodes":          "nodes:\n- name: a\n  %s",
		"nodes.metadata": "nodes:\n- name: a\n  metadata:\n    %s",
		"nodes.networks": "nodes:\n- name: a\n  networks:\n  - name: lan\n    %s",
		"cloud_init":     "nodes:\n- name: a\n  cloud_init:\n    %s",
		"write_files":    "nodes:\n- name: a\n  cloud_init:\n    write_files:\n    - path: /etc/a\n      %s",
		"deploy":         "nodes:\n- name: a\n  deploy:\n  - src: ./a\n    dest: /a\n    %s",
		"conditions":     "nodes:\n- name: a\n  network_conditions:\n    %s",
	}
}

// remedies are what the parser says to a key that is not one of the place's.
func remedies(place, key string) string {
	_, err := topology.Parse("example.yaml", fmt.Appendf(nil, places()[place], key+": text"))
	if err == nil {
		return ""
	}
	var said []string
	for line := range strings.Lines(err.Error()) {
		said = append(said, strings.TrimSpace(line))
	}
	return strings.Join(said, "\n")
}

func TestEveryKeyIsDocumentedInItsSection(t *testing.T) {
	g := NewWithT(t)
	sections := strings.Split(pages(t)["docs/topology.md"], "\n## ")
	for place := range places() {
		if place == "nodes.metadata" {
			continue // any key is one
		}
		_, known, found := strings.Cut(remedies(place, "zzzzzzzz"), "known are ")
		g.Expect(found).To(BeTrue(), place)
		known, _, _ = strings.Cut(known, "\n")
		at := slices.IndexFunc(sections, func(s string) bool {
			title, _, _ := strings.Cut(s, "\n")
			return strings.Trim(title, "`") == place
		})
		g.Expect(at).To(BeNumerically(">", 0), "docs/topology.md has no section "+place)
		for _, key := range strings.Split(known, ", ") {
			g.Expect(sections[at]).To(ContainSubstring("\n| `"+key+"` |"), place)
		}
	}
}

// Each row of "What other files say" is refused by the parser with the remedy that the row has.
func TestForeignKeysAreRefusedAsDocumented(t *testing.T) {
	g := NewWithT(t)
	row := regexp.MustCompile("(?m)^\\| ([A-Za-z_. ]+) \\| ((?:`[a-z_]+`(?:, )?)+) \\| (.*) \\|$")
	_, section, found := strings.Cut(pages(t)["docs/topology.md"], "\n## What other files say\n")
	g.Expect(found).To(BeTrue())
	rows := row.FindAllStringSubmatch(section, -1)
	g.Expect(len(rows)).To(BeNumerically(">", 20))
	for _, cells := range rows {
		for _, key := range strings.Split(cells[2], ", ") {
			key = strings.Trim(key, "`")
			g.Expect(places()).To(HaveKey(cells[1]))
			want := strings.ReplaceAll(cells[3], "`", "")
			g.Expect(remedies(cells[1], key)).To(ContainSubstring("; "+want), cells[1]+" "+key)
		}
	}
}
