package guest

import (
	"fmt"
	"strings"
)

// unaryTests are the operators of test(1) with one word that POSIX gives it, but for -t: dash takes it for an error where it is no number.
const unaryTests = "bcdefghLnprSsuwxz"

// shellDoes tells whether the login shell may run the command itself. Every shell has true, false and test of its own,
// which do what the programs do; a program less to start is a fifth of such a command's time under emulation, and they are
// what specs ask again and again.
func (c *Client) shellDoes(cmd Cmd, nodeEnv map[string]string) bool {
	return cmd.awaited && cmd.Shell == "" && shellCan(cmd.Argv) && c.target(cmd) == c.cfg.User && !cmd.Session && len(nodeEnv)+len(cmd.Env) == 0
}

// ownBase is added to the exit status of what the login shell does itself. A status below it is that of a shell which never
// came to it, such as nologin(8).
const ownBase = 192

// ownLine has the login shell do it, and no function of that name.
func ownLine(argv []string) string {
	return fmt.Sprintf("command %s; exit $((%d + $?))\n", quoteAll(argv), ownBase)
}

// shellCan tells whether every shell does that as the program does. Any form of test in which they may differ is left to the
// program.
func shellCan(argv []string) bool {
	switch argv[0] {
	case "true", "false":
		return len(argv) == 1
	case "test":
		return plainTest(argv[1:])
	}
	return false
}

func plainTest(words []string) bool {
	if len(words) > 0 && words[0] == "!" {
		words = words[1:]
	}
	switch len(words) {
	case 2:
		operator, dashed := strings.CutPrefix(words[0], "-")
		return dashed && len(operator) == 1 && strings.Contains(unaryTests, operator)
	case 3:
		return words[1] == "=" || words[1] == "!="
	}
	return false
}
