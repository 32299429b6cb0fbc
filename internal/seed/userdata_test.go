package seed

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"gopkg.in/yaml.v3"
)

// document is what the tests look at in a cloud-config.
type document struct {
	MergeHow   string           `yaml:"merge_how"`
	Hostname   string           `yaml:"hostname"`
	Root       []string         `yaml:"ssh_authorized_keys"`
	PwAuth     *bool            `yaml:"ssh_pwauth"`
	Apt        map[string]any   `yaml:"apt"`
	Users      []map[string]any `yaml:"users"`
	WriteFiles []writeFile      `yaml:"write_files"`
	RunCmd     []any            `yaml:"runcmd"`
}

func (d document) file(path string) *writeFile {
	for i := range d.WriteFiles {
		if string(d.WriteFiles[i].Path) == path {
			return &d.WriteFiles[i]
		}
	}
	return nil
}

func parse(t *testing.T, cfg Config) document {
	t.Helper()
	files, err := Files(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return parseConfig(t, string(files[UserDataName]))
}

func parseConfig(t *testing.T, text string) document {
	t.Helper()
	if !strings.HasPrefix(text, cloudConfigHeader) {
		t.Fatalf("not a cloud-config: %.60q", text)
	}
	var out document
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNoPasswordUnlessAskedFor(t *testing.T) {
	g := NewWithT(t)
	cfg := minimal(t)
	cfg.User.Name = "dev"
	got := parse(t, cfg)
	g.Expect(got.PwAuth).To(BeNil())
	g.Expect(got.Users[0]).To(And(HaveKeyWithValue("lock_passwd", true), Not(HaveKey("plain_text_passwd"))))
	g.Expect(string(got.file("/etc/ssh/sshd_config.d/00-labtest.conf").Content)).NotTo(ContainSubstring("PasswordAuthentication"))

	cfg.User.Password = "123"
	got = parse(t, cfg)
	g.Expect(*got.PwAuth).To(BeTrue())
	g.Expect(got.Users[0]).To(And(HaveKeyWithValue("lock_passwd", false), HaveKeyWithValue("plain_text_passwd", "123")))
	g.Expect(string(got.file("/etc/ssh/sshd_config.d/00-labtest.conf").Content)).To(And(
		ContainSubstring("PasswordAuthentication yes\n"), ContainSubstring("PermitRootLogin prohibit-password\n")))

	cfg.User.Name = "root"
	got = parse(t, cfg)
	g.Expect(got.Users[0]).NotTo(HaveKey("sudo"))
	g.Expect(string(got.file("/etc/ssh/sshd_config.d/00-labtest.conf").Content)).To(ContainSubstring("PermitRootLogin yes\n"))
}

func TestDefaultAccountIsNeverMade(t *testing.T) {
	g := NewWithT(t)
	got := parse(t, minimal(t))
	g.Expect(got.Users).To(HaveLen(1), "an empty list would bring the image's account back, and cloud-init refuses it")
	g.Expect(got.Users[0]).To(HaveKeyWithValue("name", "root"))
	g.Expect(got.RunCmd).To(BeEmpty())
	g.Expect(got.Apt).To(BeNil())
}

func TestFilesOfAccountsWaitForThem(t *testing.T) {
	cases := map[string]bool{"": false, "root": false, "root:root": false, "dev": true, "root:dev": true, "dev:root": true}
	for owner, want := range cases {
		g := NewWithT(t)
		cfg := minimal(t)
		cfg.WriteFiles = []File{{Path: "/x", Owner: owner}}
		g.Expect(parse(t, cfg).file("/x").Defer).To(Equal(want), owner)
	}
}

func TestBinaryContentTravelsAsBase64(t *testing.T) {
	cases := []struct{ content, encoding, want string }{
		{"plain\n", "", ""},
		{"a\x00", "", "b64"},
		{"\xff", "", "b64"},
		{"\x1f\x8b\x08", "gzip", "gz+b64"},
		{"a\r\n", "text/plain", "b64"},
		{"YQ==", "base64", "base64"},
	}
	for _, test := range cases {
		g := NewWithT(t)
		got := planFile(File{Path: "/x", Content: test.content, Encoding: test.encoding})
		g.Expect(got.Encoding).To(Equal(test.want))
		content := string(got.Content)
		if strings.Contains(test.want, "b64") {
			decoded, err := base64.StdEncoding.DecodeString(content)
			g.Expect(err).NotTo(HaveOccurred())
			content = string(decoded)
		}
		g.Expect(content).To(Equal(test.content))
	}
}

func TestEnvReachesLoginShellsExactly(t *testing.T) {
	g := NewWithT(t)
	value := "a#b'c\"d$HOME `e` \\f "
	files := envFiles(map[string]string{"HARD": value, "PLAIN": "x y"})
	g.Expect(files).To(HaveLen(3))
	g.Expect(files[0].Append).To(BeTrue())
	g.Expect(files[0].Content).To(Equal("\nPLAIN=\"x y\"\n"), "PAM cannot carry the other")
	g.Expect(files[1].Content).To(ContainSubstring("HARD=\"a#b'c\\\"d\\$\\$HOME \\`e\\` \\\\f \"\n"))

	script := filepath.Join(t.TempDir(), "env.sh")
	g.Expect(os.WriteFile(script, []byte(files[2].Content), 0o600)).To(Succeed())
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `. "$0"; printf %s "$HARD"`, script).Output()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(out)).To(Equal(value))
}

// mimeParts returns the header and the decoded body of each part.
func mimeParts(t *testing.T, cfg Config) (kinds, bodies []string) {
	t.Helper()
	files, err := Files(cfg)
	if err != nil {
		t.Fatal(err)
	}
	message, err := mail.ReadMessage(strings.NewReader(string(files[UserDataName])))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	reader := multipart.NewReader(message.Body, params["boundary"])
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return kinds, bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		if part.Header.Get("Content-Transfer-Encoding") == "base64" {
			if body, err = base64.StdEncoding.DecodeString(string(body)); err != nil {
				t.Fatal(err)
			}
		}
		kinds, bodies = append(kinds, part.Header.Get("Content-Type")), append(bodies, string(body))
	}
}

func TestUserDataComesFirstAndOursWins(t *testing.T) {
	const nested = "--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--b--\n"
	cases := map[string]struct{ data, kind, body string }{
		"cloud-config": {"#cloud-config\nhostname: ü\n", `text/plain; charset="utf-8"`, "#cloud-config\nhostname: ü\n"},
		"comment only": {"#cloud-config\n", `text/plain; charset="utf-8"`, "#cloud-config\n"},
		"script":       {"#!/bin/sh\necho é\n", `text/plain; charset="utf-8"`, "#!/bin/sh\necho é\n"},
		"MIME": {
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\"\n\n" + nested,
			`multipart/mixed; boundary="b"`, nested,
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cfg := full(t)
			cfg.UserData = test.data
			kinds, bodies := mimeParts(t, cfg)
			g.Expect(kinds).To(HaveLen(3))
			g.Expect(kinds[0]).To(Equal(test.kind))
			g.Expect(bodies[0]).To(Equal(test.body))

			adds, wins := parseConfig(t, bodies[1]), parseConfig(t, bodies[2])
			g.Expect(adds.MergeHow).To(Equal("dict(recurse_list)+list(prepend)+str()"))
			g.Expect(adds.Users[0]).To(HaveKeyWithValue("name", "iontest"))
			g.Expect(wins.MergeHow).To(Equal("dict(replace)+list()+str()"))
			g.Expect(wins.Hostname).To(Equal("desk"))
			g.Expect(wins.Root).To(Equal([]string{testPublicKey}))
			g.Expect(wins.Users).To(BeEmpty(), "it would replace the author's")
		})
	}
}

// FuzzText checks that no string of an author is read back as another one.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"", "=", "<<", "yes", "0644", "1:20", "~", " a", "a ", "\na", "\n", "a\n", "a\n\n", "a\n b\n", "\ta\n", "a: b", "#", "- a",
		"a\r\nb", "---\n", "...\n", "%x\n", "\u00e9\n", "a\tb\n", "|", "a \n b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cfg := Config{WriteFiles: []File{{Path: "/x", Content: s}}, RunCmd: []Command{{Argv: []string{strings.ToValidUTF8(s, "?")}}}}
		encoded, err := encode(planAdditions(cfg))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		var got document
		if err := yaml.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%q: %v in\n%s", s, err, encoded)
		}
		file := got.file("/x")
		content := string(file.Content)
		if file.Encoding == "b64" {
			decoded, err := base64.StdEncoding.DecodeString(content)
			if err != nil {
				t.Fatal(err)
			}
			content = string(decoded)
		}
		if content != s {
			t.Errorf("content %q came back as %q from\n%s", s, content, encoded)
		}
		if argv := fmt.Sprint(got.RunCmd); argv != fmt.Sprint([][]string{cfg.RunCmd[0].Argv}) {
			t.Errorf("argument %q came back as %q from\n%s", cfg.RunCmd[0].Argv, argv, encoded)
		}
	})
}
