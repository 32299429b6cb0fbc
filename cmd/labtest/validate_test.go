package main

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestValidate(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		g.Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
		return path
	}
	good := write("good.yaml", "nodes: [{name: a}, {name: b}]\n")
	routed := write("routed.yaml", "networks: [{name: lan, subnet: 10.1.0.0/24, preset: broadband}, {name: wan, subnet: 10.2.0.0/24}]\n"+
		"routers: [{name: gw, inside: lan, outside: wan}]\nnodes: [{name: a, networks: [lan]}]\n")
	typo := write("typo.yaml", "nodes: [{name: a, imgae: debian-12}]\n")
	unknown := write("unknown.yaml", "nodes: [{name: a, image: debain-12}]\n")
	source := write("source.yaml", "nodes: [{name: a, deploy: [{src: ./nothing, dest: /x}]}]\n")
	huge := write("huge.yaml", "nodes: [{name: a, count: 60, memory_mb: 1000000}]\n")

	t.Run("good ones", func(t *testing.T) {
		g := NewWithT(t)
		got := newSetting(t).run(t.Context(), "validate", good)
		g.Expect(got).To(Equal(result{0, good + ": ok (2 nodes, 1 network)\n", ""}))
	})
	t.Run("one with a router", func(t *testing.T) {
		g := NewWithT(t)
		got := newSetting(t).run(t.Context(), "validate", routed)
		g.Expect(got).To(Equal(result{0, routed + ": ok (1 node, 2 networks, 1 router)\n", ""}))
	})
	t.Run("every file is checked", func(t *testing.T) {
		g := NewWithT(t)
		got := newSetting(t).run(t.Context(), "validate", typo, good, unknown, source, huge, filepath.Join(dir, "none.yaml"))
		g.Expect(got.status).To(Equal(2))
		g.Expect(got.out).To(Equal(good + ": ok (2 nodes, 1 network)\n"))
		g.Expect(got.err).To(And(
			ContainSubstring("typo.yaml:1:19: nodes[0].imgae"),
			ContainSubstring("unknown.yaml:1:26: nodes[0].image"),
			ContainSubstring("did you mean"),
			ContainSubstring("source.yaml:1:"),
			ContainSubstring("does not exist"),
			MatchRegexp(`huge.yaml.*MiB of memory together`),
			ContainSubstring("none.yaml: no such file"),
			HaveSuffix("labtest: 5 of 6 topologies cannot be used\n"),
		))
	})
}
