package guest

import "strings"

// unaryTests are the operators of test(1) with one word that POSIX gives it, but for -t: dash takes it for an error where it is no number.
const unaryTests = "bcdefghLnprSsuwxz"

// shellCan tells whether the login shell may run the command itself. Every shell has true, false and test of its own,
// which do what the programs do; a program less to start is a fifth of such a command's time under emulation, and they are
// what specs ask again and again. Any form of test in which shells may differ is left to the program.
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
