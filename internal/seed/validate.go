package seed

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

var (
	instanceIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	hostnamePattern   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	noncePattern      = regexp.MustCompile(`^[A-Za-z0-9._-]{0,128}$`)
	// userPattern is what Debian's adduser accepts; other distributions accept more.
	userPattern      = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	ownerPattern     = regexp.MustCompile(`^[a-z_][a-z0-9_-]*(:[a-z_][a-z0-9_-]*)?$`)
	octalPattern     = regexp.MustCompile(`^0?[0-7]{3,4}$`)
	envPattern       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	portPattern      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,14}$`)
	hostsNamePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
)

// fileEncodings are the encodings of write_files in cloud-init's schema.
var fileEncodings = []string{
	"", "b64", "base64", "gz", "gzip", "gz+b64", "gzip+b64", "gz+base64", "gzip+base64", "text/plain",
}

// problems collects what is wrong with a Config.
type problems []error

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

func (p *problems) matches(what, value string, pattern *regexp.Regexp, want string) {
	if !pattern.MatchString(value) {
		p.addf("%s %q: want %s", what, value, want)
	}
}

func validate(cfg Config) error {
	var found problems
	found.identity(cfg)
	found.user(cfg.User)
	found.keys("root key", cfg.RootKeys)
	for i, file := range cfg.WriteFiles {
		found.file(i, file)
	}
	found.software(cfg)
	found.env(cfg.Env)
	found.interfaces(cfg.Interfaces)
	for _, host := range cfg.Hosts {
		if !host.Addr.IsValid() || len(host.Names) == 0 {
			found.addf("host %q: want an address and at least one name", strings.Join(host.Names, " "))
		}
		for _, name := range host.Names {
			found.matches("host name", name, hostsNamePattern, "letters, digits, dots and dashes")
		}
	}
	return errors.Join(found...)
}

func (p *problems) identity(cfg Config) {
	p.matches("instance id", cfg.InstanceID, instanceIDPattern, "1 to 128 letters, digits, dots, dashes and underscores")
	p.matches("hostname", cfg.Hostname, hostnamePattern, "a DNS label: 1 to 63 lower-case letters, digits and dashes")
	p.matches("boot nonce", cfg.BootNonce, noncePattern, "at most 128 letters, digits, dots, dashes and underscores")
	if cfg.FQDN != "" && !strings.HasPrefix(cfg.FQDN, cfg.Hostname+".") {
		p.addf("fqdn %q: want it to start with the hostname: %q", cfg.FQDN, cfg.Hostname+".")
	}
	if _, err := ssh.ParsePrivateKey([]byte(cfg.HostKey.Private)); err != nil {
		p.addf("private host key: %w", err)
	}
	p.keys("public host key", []string{cfg.HostKey.Public})
}

func (p *problems) user(user User) {
	if user.Name == "" {
		if user.Password != "" || len(user.AuthorizedKeys) > 0 {
			p.addf("user: a password or a key is given but no name")
		}
		return
	}
	p.matches("user", user.Name, userPattern,
		"a lower-case letter or underscore, then at most 31 lower-case letters, digits, dashes and underscores")
	if strings.ContainsAny(user.Password, "\n\r\x00") || !utf8.ValidString(user.Password) {
		p.addf("password of user %q: want one line of UTF-8 text", user.Name)
	}
	p.keys("key of user "+user.Name, user.AuthorizedKeys)
}

func (p *problems) keys(what string, lines []string) {
	for _, line := range lines {
		_, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
		switch {
		case err != nil:
			p.addf("%s %q: want a line as in authorized_keys, such as \"ssh-ed25519 AAAA... name\": %w", what, shorten(line), err)
		case len(rest) > 0:
			p.addf("%s %q: want one line, got several", what, shorten(line))
		}
	}
}

func (p *problems) file(index int, file File) {
	what := fmt.Sprintf("write_files[%d]", index)
	if !path.IsAbs(file.Path) || path.Clean(file.Path) != file.Path || file.Path == "/" ||
		strings.Contains(file.Path, "\x00") || !utf8.ValidString(file.Path) {
		p.addf("%s: path %q: want the absolute path of a file, without . and ..", what, file.Path)
	}
	if file.Permissions != "" {
		p.matches(what+": permissions", file.Permissions, octalPattern, `octal digits such as "0644"`)
	}
	if file.Owner != "" {
		p.matches(what+": owner", file.Owner, ownerPattern, "user or user:group")
	}
	if !slices.Contains(fileEncodings, file.Encoding) {
		p.addf("%s: encoding %q: want one of b64, gzip, gz+b64, or none", what, file.Encoding)
	}
}

func (p *problems) software(cfg Config) {
	for i, name := range cfg.Packages {
		if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, " \t\n\x00") || !utf8.ValidString(name) {
			p.addf("packages[%d] %q: want the name of a package", i, name)
		}
	}
	for i, command := range cfg.RunCmd {
		if (command.Shell == "") == (len(command.Argv) == 0) {
			p.addf("runcmd[%d]: want either a shell line or an argument list", i)
		}
		if text := command.Shell + strings.Join(command.Argv, " "); strings.Contains(text, "\x00") || !utf8.ValidString(text) {
			p.addf("runcmd[%d]: want UTF-8 text without NUL bytes", i)
		}
	}
}

func (p *problems) env(env map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(env)) {
		value := env[key]
		p.matches("env", key, envPattern, "a name of letters, digits and underscores that does not start with a digit")
		if strings.ContainsAny(value, "\n\r\x00") {
			p.addf("env %s: the value must be one line: the files that logins read cannot hold more", key)
		}
	}
}

func (p *problems) interfaces(interfaces []Interface) {
	seen := map[string]string{}
	for i, nic := range interfaces {
		what := fmt.Sprintf("interface %d", i)
		hw, err := net.ParseMAC(nic.MAC)
		if err != nil || len(hw) != 6 {
			p.addf("%s: MAC %q: want six bytes such as 02:00:5e:10:00:01", what, nic.MAC)
		}
		for _, id := range []string{hw.String(), portID(i, nic)} {
			if other, taken := seen[id]; taken && id != "" {
				p.addf("%s: %s is taken by %s", what, id, other)
			}
			seen[id] = what
		}
		if nic.Name != "" {
			p.matches(what+": name", nic.Name, portPattern, "a letter, then at most 14 letters, digits, dots, dashes and underscores")
		}
		if nic.MTU != 0 && (nic.MTU < 68 || nic.MTU > 65535) {
			p.addf("%s: MTU %d: want 68 to 65535", what, nic.MTU)
		}
		p.addresses(what, nic)
		p.routes(what, nic)
	}
}

func (p *problems) routes(what string, nic Interface) {
	seen := map[netip.Prefix]bool{}
	for _, route := range nic.Routes {
		switch {
		case !route.To.IsValid() || route.To != route.To.Masked() || route.To.Bits() == 0:
			p.addf("%s: route to %q: want a network such as 10.2.0.0/24, without host bits", what, route.To)
		case seen[route.To]:
			p.addf("%s: route to %s: it has two next hops", what, route.To)
		case route.To.Addr().Is4() != route.Via.Is4():
			p.addf("%s: route to %s: the next hop %s is no address of its family", what, route.To, route.Via)
		case !slices.ContainsFunc(nic.Addrs, func(addr netip.Prefix) bool { return addr.Contains(route.Via) }):
			p.addf("%s: route to %s: the next hop %s is outside of its networks %v", what, route.To, route.Via, nic.Addrs)
		}
		seen[route.To] = true
	}
}

func (p *problems) addresses(what string, nic Interface) {
	reachable := !nic.Gateway.IsValid()
	for _, addr := range nic.Addrs {
		if !addr.IsValid() {
			p.addf("%s: an address is empty", what)
		}
		reachable = reachable || addr.Contains(nic.Gateway)
	}
	if !reachable {
		p.addf("%s: gateway %s is outside of its networks %v", what, nic.Gateway, nic.Addrs)
	}
	for _, server := range nic.DNS {
		if !server.IsValid() {
			p.addf("%s: a DNS server's address is empty", what)
		}
	}
}

// shorten bounds foreign text in a message.
func shorten(text string) string {
	const limit = 60
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "..."
}
