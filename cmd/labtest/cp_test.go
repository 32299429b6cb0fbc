package main

import (
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestParsePlace(t *testing.T) {
	for text, want := range map[string]place{
		"file":             {path: "file"},
		"./a:b:c":          {path: "./a:b:c"},
		"/x/y:z":           {path: "/x/y:z"},
		"lab:alice:/etc/x": {"lab", "alice", "/etc/x"},
		".:alice:a:b":      {".", "alice", "a:b"},
		"q:alice:./rel":    {"q", "alice", "./rel"},
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			got, err := parsePlace(text)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(want))
		})
	}
	for text, says := range map[string]string{
		"":          "a path is empty",
		"alice:/x":  `"alice:/x" is not LAB:NODE:PATH (.:alice:/x where only one lab runs); a file of this host: ./alice:/x`,
		"lab:a:":    "one of the three is empty",
		"lab::/x":   "one of the three is empty",
		":alice:/x": "one of the three is empty",
	} {
		t.Run("bad "+text, func(t *testing.T) {
			_, err := parsePlace(text)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
		})
	}
}

func TestCpRefusesWhatIsNoCopyWithANode(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	for says, args := range map[string][]string{
		"neither side is LAB:NODE:PATH":           {"a", "b"},
		"both sides are in nodes":                 {".:a:/x", ".:b:/x"},
		"is not LAB:NODE:PATH":                    {"alice:/x", "y"},
		"read the source: stat /nowhere: no such": {"/nowhere", ".:alice:/x"},
		"DST missing":                             {"a"},
	} {
		got := s.run(t.Context(), append([]string{"cp"}, args...)...)
		g.Expect(got.status).To(Equal(2), says)
		g.Expect(got.err).To(ContainSubstring(says))
	}
}

func TestSSHBecomesSSH(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	run := s.lab(t, "aa11bb", "alice")
	var argv []string
	s.app.replace = func(program string, words, env []string) error {
		g.Expect(filepath.Base(program)).To(Equal("ssh"))
		g.Expect(env).NotTo(BeEmpty())
		argv = words
		return nil
	}
	got := s.run(t.Context(), "ssh", "aa1", "alice", "-L", "8080:localhost:80", "ls", "--all", "-v")
	g.Expect(got.status).To(Equal(0), got.err)
	g.Expect(argv).To(Equal([]string{"ssh", "-F", run + "/ssh_config", "alice", "-L", "8080:localhost:80", "ls", "--all", "-v"}))
}
