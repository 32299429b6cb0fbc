package guest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// TestWhatTheShellDoesItselfIsWhatTheProgramDoes runs each command as it is, and by a path, which no shell takes for its own.
func TestWhatTheShellDoesItselfIsWhatTheProgramDoes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		file, empty := filepath.Join(home, "a file"), filepath.Join(home, "$empty")
		g.Expect(os.WriteFile(file, []byte("x"), 0o644)).To(Succeed())
		g.Expect(os.WriteFile(empty, nil, 0o755)).To(Succeed())
		g.Expect(os.Symlink(file, filepath.Join(home, "link"))).To(Succeed())
		commands := [][]string{{"true"}, {"false"}, {"test", "a", "=", "a"}, {"test", "a", "=", "b"}, {"test", "", "!=", "*"}, {"test", "!", "a", "=", "a"}}
		for _, operator := range unaryTests {
			for _, word := range []string{file, empty, home, home + "/link", home + "/none", "", "1"} {
				commands = append(commands, []string{"test", "-" + string(operator), word})
			}
			commands = append(commands, []string{"test", "!", "-" + string(operator), file})
		}
		for _, argv := range commands {
			g.Expect(shellCan(argv)).To(BeTrue(), "%q", argv)
			own, err := c.Run(soon(t), Cmd{Argv: argv})
			g.Expect(err).NotTo(HaveOccurred())
			program, err := c.Run(soon(t), Cmd{Argv: append([]string{"/usr/bin/" + argv[0]}, argv[1:]...)})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(own.ExitCode()).To(Equal(program.ExitCode()), "%q", argv)
			g.Expect(own.Stderr()).To(BeEmpty())
		}
	})
}

func TestWhatTheShellDoesItselfStartsInItsFolderOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *Client, home string) {
		g := NewWithT(t)
		g.Expect(os.Mkdir(filepath.Join(home, "sub"), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(home, "sub", "file"), nil, 0o600)).To(Succeed())
		res, err := c.Run(soon(t), Cmd{Argv: []string{"test", "-f", "file"}, Dir: filepath.Join(home, "sub")})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.ExitCode()).To(BeZero())
		_, err = c.Run(soon(t), Cmd{Argv: []string{"test", "-f", "file"}, Dir: filepath.Join(home, "none")})
		var launch *LaunchError
		g.Expect(errors.As(err, &launch)).To(BeTrue(), "%v", err)
		g.Expect(launch.Stage).To(Equal("chdir"))
		p, err := c.Start(soon(t), Cmd{Argv: []string{"true"}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(p.PID()).To(MatchRegexp(`^\d+$`), "who starts it may want to know")
	})
}

func TestTheShellIsNotAskedForWhatShellsDoDifferently(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{
		{"true", "--version"},
		{"/bin/true"},
		{"test"},
		{"test", "word"},
		{"test", "-e", "a", "-a", "-e", "b"},
		{"test", "-v", "HOME"},
		{"test", "-o", "posix"},
		{"test", "a", "<", "b"},
		{"test", "1", "-eq", "01"},
		{"test", "-", "a"},
		{"test", "-ef", "a"},
		{"[", "-e", "a", "]"},
		{"echo", "-n"},
	} {
		NewWithT(t).Expect(shellCan(argv)).To(BeFalse(), "%q", argv)
	}
}
