package guest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxLine is the longest command line that is sent as such: sshd passes it to the login shell as one argument, which
// Linux limits to maxArg. Longer ones travel through stdin.
const maxLine = 100 << 10

// launch is a command made ready for the login shell.
type launch struct {
	mark  string // what precedes the launcher's message on stderr
	line  string // the command line for sshd
	input string // what the launcher reads from stdin before the program does
	own   bool   // the login shell does it itself: it announces nothing, its exit status says that it came so far
}

// prelude gives the launcher its way to talk: one message on stderr, behind a mark that no program can know. The
// process id in it is also the id of the session and process group that sshd made for the command.
const prelude = `_il_fail() { printf '\000ionlab %[1]s !%%s\000\n' "$1" >&2; exit 125; }
`

// announceStart is the launcher's last statement before the program. $1 is set where sudo started the launcher.
const announceStart = `printf '\000ionlab %[1]s %%s\000\n' "${1:-$$}" >&2
`

// plan makes a command ready. The command must be valid.
func (c *Client) plan(cmd Cmd, nodeEnv map[string]string) (*launch, error) {
	id := randomID()
	own := c.shellDoes(cmd, nodeEnv)
	script, err := c.script(cmd, nodeEnv, id, own)
	if err != nil {
		return nil, err
	}
	l := &launch{mark: "\x00ionlab " + id + " ", own: own}
	wrap := func(s string) string { return s }
	if c.needsSudo(cmd) {
		wrap = func(s string) string { return "exec sudo -n -- /bin/sh -c " + quote(s) + ` ionlab "$$"` }
	}
	l.line = wrap(script)
	if len(l.line) > maxLine {
		// dd takes exactly its count from the pipe, so that what follows is left for the program.
		l.input = script
		l.line = wrap(fmt.Sprintf(`eval "$(dd bs=%d count=1 iflag=fullblock 2>/dev/null)"`, len(script)))
	}
	return l, nil
}

// target is the user the command runs as.
func (c *Client) target(cmd Cmd) string {
	switch {
	case cmd.User != "":
		return cmd.User
	case cmd.Session && c.cfg.LoginUser != "":
		return c.cfg.LoginUser
	}
	return c.cfg.User
}

// needsSudo tells whether the launcher must become root first.
func (c *Client) needsSudo(cmd Cmd) bool {
	return c.cfg.User != "root" && c.target(cmd) != c.cfg.User
}

// script is the launcher: it runs in the login shell, sets everything up, and becomes the program.
func (c *Client) script(cmd Cmd, nodeEnv map[string]string, id string, own bool) (string, error) {
	exports, owned, err := splitEnv(nodeEnv, cmd.Env)
	if err != nil {
		return "", err
	}
	user := c.target(cmd)
	switched := user != c.cfg.User
	var b strings.Builder
	if switched || cmd.Session || cmd.Dir != "" {
		fmt.Fprintf(&b, prelude, id)
	}
	if switched || cmd.Session {
		fmt.Fprintf(&b, lookUpUser, quote(user))
	}
	if switched {
		b.WriteString(becomeUser)
	}
	if cmd.Session {
		fmt.Fprintf(&b, joinSession, quote(c.runtimeDir))
	}
	for _, e := range exports {
		b.WriteString("export " + e + "\n")
	}
	b.WriteString(changeDir(cmd.Dir, switched))
	if own {
		b.WriteString(ownLine(cmd.Argv))
		return b.String(), nil
	}
	fmt.Fprintf(&b, announceStart, id)
	b.WriteString(execLine(cmd, owned, switched))
	return b.String(), nil
}

// changeDir enters the working directory. A leading ./ keeps cd from giving "-" and CDPATH a meaning.
func changeDir(dir string, switched bool) string {
	switch {
	case dir == "" && switched:
		return `cd -- "$HOME" 2>/dev/null || cd /` + "\n"
	case dir == "":
		return ""
	case !strings.HasPrefix(dir, "/"):
		dir = "./" + dir
	}
	q := quote(dir)
	return fmt.Sprintf("cd -- %s 2>/dev/null || _il_fail \"chdir:$(LC_ALL=C; export LC_ALL; cd -- %s 2>&1)\"\n", q, q)
}

// execLine replaces the launcher by the program.
func execLine(cmd Cmd, owned []string, switched bool) string {
	argv := quoteAll(cmd.Argv)
	if cmd.Shell != "" {
		argv = `"$_il_b" -c ` + quote(cmd.Shell)
	}
	words := []string{"exec"}
	if switched {
		words = append(words, asUser)
	}
	if len(owned) > 0 {
		words = append(words, "env", quoteAll(owned))
		if cmd.Shell == "" && strings.Contains(cmd.Argv[0], "=") {
			words = append(words, `/bin/sh -c 'exec "$@"' sh`) // env would take the program's name for a variable.
		}
	}
	if len(words) == 1 && cmd.Shell == "" && strings.HasPrefix(cmd.Argv[0], "-") {
		words = append(words, "--")
	}
	words = append(words, argv)
	line := strings.Join(words, " ") + "\n"
	if cmd.Shell != "" {
		line = "_il_b=/bin/sh; [ -x /bin/bash ] && _il_b=/bin/bash\n" + line
	}
	return line
}

// lookUpUser finds the user's record, in the format of passwd(5).
const lookUpUser = `_il_r=$(getent passwd %[1]s) || _il_fail "user: the guest has no user "%[1]s
_il_n=${_il_r%%%%:*}
_il_s=${_il_r##*:}; _il_r=${_il_r%%:*}
_il_h=${_il_r##*:}; _il_r=${_il_r%%:*}; _il_r=${_il_r%%:*}
_il_g=${_il_r##*:}; _il_r=${_il_r%%:*}
_il_u=${_il_r##*:}
_il_run() { "$@"; }
`

// asUser is put before a program to run it as the user that lookUpUser found.
const asUser = `setpriv --reuid="$_il_u" --regid="$_il_g" --init-groups --`

// becomeUser prepares the change of user; setpriv does it without a process of its own in between, so that signals and
// exit status are the program's. What belongs to the session of the user who logged in is left behind.
const becomeUser = `unset XDG_RUNTIME_DIR XDG_SESSION_ID XDG_SESSION_TYPE XDG_SESSION_CLASS XDG_SEAT XDG_VTNR DBUS_SESSION_BUS_ADDRESS MAIL
unset SUDO_COMMAND SUDO_USER SUDO_UID SUDO_GID
export HOME="$_il_h" USER="$_il_n" LOGNAME="$_il_n" SHELL="${_il_s:-/bin/sh}"
command -v setpriv >/dev/null || _il_fail "user: the guest has no setpriv (package util-linux)"
_il_run() { ` + asUser + ` "$@"; }
`

// joinSession finds or starts the user's login session. The sockets are those of systemd's user manager
// (pam_systemd(8), systemd-logind); variables that the compositor put there are taken over.
const joinSession = `XDG_RUNTIME_DIR=%[1]s/$_il_u
DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
export XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS
if ! [ -e "/var/lib/systemd/linger/$_il_n" ] || ! [ -S "$XDG_RUNTIME_DIR/bus" ]; then
  command -v loginctl >/dev/null || _il_fail "session: the guest has no loginctl: is systemd-logind installed?"
  _il_o=$(loginctl enable-linger "$_il_n" 2>&1 </dev/null) || _il_fail "session: loginctl enable-linger $_il_n: $_il_o"
  _il_o=$(timeout 60 systemctl start "user@$_il_u.service" 2>&1 </dev/null) || _il_fail "session: systemctl start user@$_il_u.service: ${_il_o:-not up within 60 s}"
  [ -S "$XDG_RUNTIME_DIR/bus" ] || _il_fail "session: $_il_n has no session bus at $XDG_RUNTIME_DIR/bus: the image lacks the package dbus-user-session"
fi
_il_o=$(_il_run systemctl --user show-environment 2>/dev/null </dev/null)
_il_i=$IFS; IFS='
'; set -f
for _il_l in $_il_o; do
  case $_il_l in
  *"=\$'"*) ;;
  WAYLAND_DISPLAY=*|DISPLAY=*|XAUTHORITY=*|XDG_CURRENT_DESKTOP=*|XDG_SESSION_TYPE=*|XDG_SESSION_DESKTOP=*|DESKTOP_SESSION=*) export "$_il_l" ;;
  esac
done
set +f; IFS=$_il_i
if [ -z "$WAYLAND_DISPLAY" ]; then
  for _il_l in "$XDG_RUNTIME_DIR"/wayland-*; do
    case $_il_l in *.lock) continue ;; esac
    [ -S "$_il_l" ] && export WAYLAND_DISPLAY="${_il_l##*/}" && break
  done
fi
`

// randomID is a name that nobody else has chosen.
func randomID() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // It never fails, by its documentation.
	return hex.EncodeToString(id[:])
}
