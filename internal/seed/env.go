package seed

import (
	"maps"
	"slices"
	"strings"
)

// envFiles carries Config.Env to every kind of login. There is no file that all of them read, and each of the three has
// its own rules of quoting:
//   - /etc/environment is read by PAM (logins, SSH, cron), where # ends a value even inside quotes and nothing can be
//     escaped. A value that it cannot carry is left out of it.
//   - environment.d is read by the systemd user manager, so by every service of a session; environment.d(5).
//   - profile.d is read by login shells and carries every value exactly.
func envFiles(env map[string]string) []File {
	if len(env) == 0 {
		return nil
	}
	var pam, manager, profile strings.Builder
	pam.WriteString("\n")
	for _, key := range slices.Sorted(maps.Keys(env)) {
		value := env[key]
		if !strings.ContainsAny(value, "#\"'`\\$") {
			pam.WriteString(key + `="` + value + "\"\n")
		}
		manager.WriteString(key + `="` + managerQuoter.Replace(value) + "\"\n")
		profile.WriteString("export " + key + "=" + shellQuote(value) + "\n")
	}
	return []File{
		{Path: "/etc/environment", Content: pam.String(), Append: true},
		{Path: "/etc/environment.d/90-labtest.conf", Content: manager.String()},
		{Path: "/etc/profile.d/labtest-env.sh", Content: profile.String()},
	}
}

// managerQuoter escapes a value for systemd, which first unquotes as a shell does and then expands $, where $$ is one.
var managerQuoter = strings.NewReplacer(`"`, `\"`, `\`, `\\`, "`", "\\`", "$", `\$\$`)

// shellQuote quotes s for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
