package guest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// desktop is a guest whose tools for users and sessions are scripts: setpriv only notes what it was asked for.
func desktop(t *testing.T, env string) (c *Client, s *testServer, dir string) {
	t.Helper()
	g := NewWithT(t)
	// Socket paths are short, which those of t.TempDir are not.
	dir, err := os.MkdirTemp("", "il")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin := filepath.Join(dir, "bin")
	g.Expect(os.MkdirAll(bin, 0o755)).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Join(dir, "1000"), 0o755)).To(Succeed())
	shellFile(t, bin, "getent", "#!/bin/sh\n[ \"$2\" = desk ] && echo 'desk:x:1000:1001:Desk, User:"+dir+"/home:/bin/zsh' || exit 2\n")
	shellFile(t, bin, "setpriv", `#!/bin/sh
echo "$*" >>`+dir+`/log
while [ "$1" != -- ]; do shift; done; shift; exec "$@"
`)
	shellFile(t, bin, "loginctl", "#!/bin/sh\necho \"loginctl $*\" >>"+dir+"/log\n")
	shellFile(t, bin, "systemctl", `#!/bin/sh
echo "systemctl $*" >>`+dir+`/log
case $1 in
start) [ -e `+dir+`/ready ] && mv `+dir+`/ready `+dir+`/1000/bus ;;
--user) cat <<'X'
`+env+`
X
esac; exit 0
`)
	s = newServer(t)
	s.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "XDG_SESSION_ID=5", "XDG_RUNTIME_DIR=/run/user/0"}
	cfg := s.config()
	cfg.LoginUser = "desk"
	c = newClient(t, cfg)
	c.runtimeDir = dir
	return c, s, dir
}

func socketAt(t *testing.T, name string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", name)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { _ = l.Close() })
}

const showSession = `printf '%s|' "$USER" "$LOGNAME" "$HOME" "$SHELL" "$XDG_RUNTIME_DIR" "$DBUS_SESSION_BUS_ADDRESS" "$WAYLAND_DISPLAY" "$DISPLAY" "$XDG_CURRENT_DESKTOP" "${XDG_SESSION_ID-unset}"; pwd`

func TestSessionIsStartedOnDemand(t *testing.T) {
	g := NewWithT(t)
	c, _, dir := desktop(t, "PATH=/evil\nWAYLAND_DISPLAY=wayland-7\nDISPLAY=:0\nXDG_CURRENT_DESKTOP=$'a\\nb'")
	g.Expect(os.Mkdir(filepath.Join(dir, "home"), 0o755)).To(Succeed())
	socketAt(t, filepath.Join(dir, "ready"))
	res, err := c.Run(soon(t), Cmd{Shell: showSession, Session: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Stderr()).To(BeEmpty())
	g.Expect(strings.TrimSpace(res.Stdout())).To(Equal(strings.Join([]string{
		"desk", "desk", dir + "/home", "/bin/zsh", dir + "/1000", "unix:path=" + dir + "/1000/bus", "wayland-7", ":0", "", "unset", dir + "/home",
	}, "|")))
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(log)).To(HavePrefix("loginctl enable-linger desk\nsystemctl start user@1000.service\n" +
		"--reuid=1000 --regid=1001 --init-groups -- systemctl --user show-environment\nsystemctl --user show-environment\n" +
		"--reuid=1000 --regid=1001 --init-groups -- /bin/bash -c "))
}

func TestSessionFindsTheCompositor(t *testing.T) {
	g := NewWithT(t)
	c, _, dir := desktop(t, "PATH=/evil")
	socketAt(t, filepath.Join(dir, "1000", "bus"))
	socketAt(t, filepath.Join(dir, "1000", "wayland-3"))
	g.Expect(os.WriteFile(filepath.Join(dir, "1000", "wayland-0.lock"), nil, 0o600)).To(Succeed())
	res, err := c.Run(soon(t), Cmd{Argv: []string{"sh", "-c", showSession}, Session: true, Env: map[string]string{"DISPLAY": ":9"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Stdout()).To(And(ContainSubstring("|wayland-3|:9|"), HaveSuffix("|/\n")), "the home folder does not exist")
}

func TestSessionFailures(t *testing.T) {
	g := NewWithT(t)
	c, _, dir := desktop(t, "")
	stage := func(cmd Cmd) *LaunchError {
		t.Helper()
		_, err := c.Run(soon(t), cmd)
		var failed *LaunchError
		g.Expect(errors.As(err, &failed)).To(BeTrue(), "%v", err)
		return failed
	}
	g.Expect(stage(Cmd{Argv: []string{"true"}, Session: true}).Error()).To(Equal(
		"session: desk has no session bus at " + dir + "/1000/bus: the image lacks the package dbus-user-session"))
	shellFile(t, filepath.Join(dir, "bin"), "loginctl", "#!/bin/sh\necho 'no such\nthing' >&2; exit 1\n")
	g.Expect(stage(Cmd{Argv: []string{"true"}, Session: true}).Error()).To(Equal(
		"session: loginctl enable-linger desk: no such\nthing"))
	g.Expect(stage(Cmd{Argv: []string{"true"}, User: "it's"}).Error()).To(Equal("user: the guest has no user it's"))
	c.cfg.LoginUser = ""
	g.Expect(stage(Cmd{Argv: []string{"true"}, Session: true}).Error()).To(HavePrefix("session: the node has no ordinary user"))
}

func TestUserByPrivilege(t *testing.T) {
	g := NewWithT(t)
	c, _, dir := desktop(t, "")
	res, err := c.Run(soon(t), Cmd{Argv: []string{"sh", "-c", showSession}, User: "desk", Dir: dir, Env: map[string]string{"HOME": "/x"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Stdout()).To(Equal("desk|desk|/x|/bin/zsh||||||unset|" + dir + "\n"))
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(log)).To(HavePrefix("--reuid=1000 --regid=1001 --init-groups -- sh -c "))
}

func TestSudo(t *testing.T) {
	g := NewWithT(t)
	c, s, dir := desktop(t, "")
	c.cfg.User, c.cfg.Sudo = "ordinary", true
	shellFile(t, filepath.Join(dir, "bin"), "getent", "#!/bin/sh\necho 'root:x:0:0:root:"+dir+"/home:/bin/sh'\n")
	shellFile(t, filepath.Join(dir, "bin"), "sudo", "#!/bin/sh\necho \"sudo $1 $2\" >>"+dir+"/log\nshift 2\n\"$@\"\n")
	res, err := c.Run(soon(t), Cmd{Argv: []string{"printf", "%s|", "a b", "it's", strings.Repeat("x", 120<<10)}, User: "root"})
	g.Expect(err).NotTo(HaveOccurred())
	if want := "a b|it's|" + strings.Repeat("x", 120<<10) + "|"; res.Stdout() != want { // not Equal: a long message
		t.Error(shorten(res.Stdout(), 500))
	}
	g.Expect(c.WriteFile(soon(t), s.home+"/f", []byte("x"), 0o600)).To(Succeed())
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(string(log), "sudo -n --\n")).To(Equal(2))

	p, err := c.Start(soon(t), Cmd{Shell: "sleep 300; :", User: "root"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.Kill(soon(t))).To(Succeed())
	_, err = p.Wait(soon(t))
	g.Expect(err).NotTo(HaveOccurred())

	shellFile(t, filepath.Join(dir, "bin"), "sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n")
	_, err = c.Run(soon(t), Cmd{Argv: []string{"true"}, User: "root"})
	g.Expect(err).To(MatchError(ContainSubstring("shell: the login shell ended with code 1 before the program started: sudo: a password is required")))
}
