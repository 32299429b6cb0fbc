package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// Each row is a mistake, its exit status, and what has to be read on standard error.
func TestExitStatus(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"no verb":           {nil, 2, "a command is missing"},
		"help":              {[]string{"--help"}, 0, ""},
		"mistyped verb":     {[]string{"lsit"}, 2, `unknown command "lsit" for "labtest"; did you mean list?`},
		"unknown verb":      {[]string{"xyzzyx"}, 2, "labtest: unknown command \"xyzzyx\" for \"labtest\"\n\"labtest --help\" shows"},
		"mistyped below":    {[]string{"image", "bild"}, 2, `unknown command "bild" for "labtest image"; did you mean build?`},
		"no verb below":     {[]string{"image"}, 2, "a command is missing"},
		"mistyped flag":     {[]string{"list", "--jsn"}, 2, "unknown flag: --jsn; did you mean --json?"},
		"unknown flag":      {[]string{"list", "--color"}, 2, "unknown flag: --color\n\"labtest list --help\" shows"},
		"argument missing":  {[]string{"status"}, 2, "LAB missing"},
		"arguments missing": {[]string{"exec", "x"}, 2, "NODE and PROGRAM missing"},
		"argument too many": {[]string{"list", "more"}, 2, `unexpected argument "more"`},
		"flag of the program": {
			[]string{"exec", "x", "y", "ls", "-l"}, 2, "unknown shorthand flag: 'l' in -l; put -- before the program",
		},
		"a libvirt of one's own": {
			[]string{"list", "--connect", "qemu:///system"}, 2, "a libvirt of your own is not supported yet; leave --connect out",
		},
		"no name for an import":   {[]string{"image", "import", "x.qcow2"}, 2, `required flag(s) "name" not set`},
		"odd firmware":            {[]string{"image", "import", "x", "--name", "y", "--firmware", "efi"}, 2, `--firmware "efi": bios or uefi`},
		"no such lab":             {[]string{"status", "x"}, 2, `lab "x": no lab runs below`},
		"no such topology":        {[]string{"up", "/nowhere.yaml"}, 2, "read topology: open /nowhere.yaml: no such file"},
		"no such image to remove": {[]string{"image", "rm", "nothing"}, 1, `image "nothing" is not in the store`},
		"no such socket":          {[]string{"connect", "/nowhere.sock"}, 1, "connect to /nowhere.sock"},
		"version":                 {[]string{"version"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := newSetting(t).run(t.Context(), test.args...)
			g.Expect(got.err).To(ContainSubstring(test.says))
			g.Expect(got.status).To(Equal(test.status), got.err)
			if test.status != 0 {
				g.Expect(got.out).To(BeEmpty())
				g.Expect(got.err).To(ContainSubstring("labtest: "))
			} else {
				g.Expect(got.err).To(BeEmpty())
				g.Expect(got.out).NotTo(BeEmpty())
			}
		})
	}
}

func TestLibvirtOfTheUsersOwnIsRefused(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	t.Setenv("LIBVIRT_DEFAULT_URI", "qemu:///system")
	file := filepath.Join(t.TempDir(), "a.yaml")
	g.Expect(os.WriteFile(file, []byte("nodes: [{name: a}]\n"), 0o600)).To(Succeed())
	got := s.run(t.Context(), "up", file)
	g.Expect(got.status).To(Equal(2))
	g.Expect(got.err).To(ContainSubstring("a libvirt of your own is not supported yet"))
}

func TestVerboseLogsToStandardError(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	var errs bytes.Buffer
	s.app.err = &errs
	s.app.verbose = true
	g.Expect(s.app.begin()).To(Succeed())
	s.app.log.Debug("a step", "node", "alice")
	g.Expect(errs.String()).To(ContainSubstring("level=DEBUG msg=\"a step\" node=alice"))
}

// Every verb is documented: a short text, and a long one or an example where there is more to say.
func TestEveryVerbHasHelp(t *testing.T) {
	g := NewWithT(t)
	s := newSetting(t)
	for _, verb := range []string{
		"doctor", "validate", "image", "image list", "image build", "image pull", "image import", "image rm", "image verify",
		"up", "list", "status", "exec", "ssh", "cp", "console", "down", "gc", "connect", "version",
	} {
		cmd, rest, err := s.app.root().Find(splitWords(verb))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(rest).To(BeEmpty(), verb)
		g.Expect(cmd.Short).NotTo(BeEmpty(), verb)
	}
}

func splitWords(s string) []string {
	var words []string
	for word := range bytes.FieldsSeq([]byte(s)) {
		words = append(words, string(word))
	}
	return words
}
