package guest

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// quote returns s as one word of a POSIX shell (POSIX.1-2017, Shell Command Language, 2.2.2).
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, needsQuote) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func needsQuote(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("@%_+:,./-", r) || r == utf8.RuneError
}

// quoteAll quotes each word and joins them with spaces.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// errNUL is the cause when a byte is asked for that no Unix argument, variable or path can hold.
var errNUL = errors.New("contains a NUL byte, which no argument, variable or path of a Unix program can hold: " +
	"pass the data through Stdin or a file")

// refuseNUL returns an error that names what holds a NUL byte.
func refuseNUL(what, s string) error {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return fmt.Errorf("%s %w (at byte %d)", what, errNUL, i)
	}
	return nil
}

// validEnvName tells whether name is a name in the sense of POSIX.1-2017, 3.235: all that a shell can export.
func validEnvName(name string) bool {
	for i, r := range []byte(name) {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// shellOwned tells whether a shell treats the variable as its own (read-only, computed, or changing how it works), so
// that it must reach the program without passing through a shell's variables.
func shellOwned(name string) bool {
	for _, prefix := range []string{"BASH", "LC_", "LANG", "COMP_", "EPOCH", "OPT", "PS", "DIRSTACK", "FUNC", "HIST", "MAIL"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "_", "UID", "EUID", "PPID", "GROUPS", "SHELLOPTS", "IFS", "ENV", "PWD", "OLDPWD", "CDPATH", "LINENO", "RANDOM",
		"SRANDOM", "SECONDS", "REPLY", "POSIXLY_CORRECT", "GLOBIGNORE", "TMOUT", "TIMEFORMAT", "SHLVL", "LINES",
		"COLUMNS", "HOSTNAME", "HOSTTYPE", "MACHTYPE", "OSTYPE", "IGNOREEOF", "INPUTRC", "EXECIGNORE", "FIGNORE":
		return true
	}
	return strings.HasPrefix(name, "_il_")
}

// splitEnv merges the maps (later ones win), checks them and returns NAME=value words, sorted: those that a shell may
// export, and those that only env(1) can set exactly.
func splitEnv(maps ...map[string]string) (exports, owned []string, err error) {
	merged := map[string]string{}
	for _, m := range maps {
		for name, value := range m {
			merged[name] = value
		}
	}
	var errs []error
	for name, value := range merged {
		if !validEnvName(name) {
			errs = append(errs, fmt.Errorf("environment: %q is not a variable name (letters, digits, _; no digit first)", name))
			continue
		}
		if err := refuseNUL(fmt.Sprintf("environment: the value of %s", name), value); err != nil {
			errs = append(errs, err)
			continue
		}
		if shellOwned(name) {
			owned = append(owned, name+"="+value)
		} else {
			exports = append(exports, name+"="+quote(value))
		}
	}
	sort.Strings(exports)
	sort.Strings(owned)
	return exports, owned, errors.Join(errs...)
}
