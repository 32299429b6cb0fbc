package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// aptSources returns the lines of a sources.list for a Debian suite: from the mirrors that the host's own apt uses for it, else
// from deb.debian.org.
func aptSources(aptDir, suite string) string {
	suites := []string{suite, suite + "-updates", suite + "-security"}
	mirrors := hostMirrors(aptDir)
	if mirrors[suite] == "" {
		mirrors = map[string]string{
			suites[0]: "http://deb.debian.org/debian", suites[1]: "http://deb.debian.org/debian",
			suites[2]: "http://deb.debian.org/debian-security",
		}
	}
	var out strings.Builder
	for _, name := range suites {
		if uri := mirrors[name]; uri != "" {
			fmt.Fprintf(&out, "deb %s %s main\n", uri, name)
		}
	}
	return out.String()
}

// hostMirrors reads sources.list and sources.list.d (sources.list(5), both forms) and returns the first http mirror of the
// component main for each suite. What it cannot read it leaves out: it is a preference, not a need.
func hostMirrors(aptDir string) map[string]string {
	mirrors := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(aptDir, "sources.list.d", "*"))
	slices.Sort(files)
	for _, path := range append([]string{filepath.Join(aptDir, "sources.list")}, files...) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		switch filepath.Ext(path) {
		case ".list":
			for line := range strings.Lines(string(text)) {
				addOneLine(mirrors, line)
			}
		case ".sources":
			for _, stanza := range strings.Split(string(text), "\n\n") {
				addStanza(mirrors, stanza)
			}
		}
	}
	return mirrors
}

func addOneLine(mirrors map[string]string, line string) {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "deb" {
		return
	}
	words = words[1:]
	if len(words) > 0 && strings.HasPrefix(words[0], "[") {
		end := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "]") })
		words = words[end+1:]
	}
	if len(words) >= 3 {
		addMirror(mirrors, words[0], words[1], words[2:])
	}
}

func addStanza(mirrors map[string]string, stanza string) {
	fields := map[string][]string{}
	for line := range strings.Lines(stanza) {
		if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			fields[strings.ToLower(key)] = strings.Fields(value)
		}
	}
	if !slices.Contains(fields["types"], "deb") || len(fields["uris"]) == 0 || slices.Contains(fields["enabled"], "no") {
		return
	}
	for _, suite := range fields["suites"] {
		addMirror(mirrors, fields["uris"][0], suite, fields["components"])
	}
}

func addMirror(mirrors map[string]string, uri, suite string, components []string) {
	http := strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://")
	if http && mirrors[suite] == "" && slices.Contains(components, "main") {
		mirrors[suite] = strings.TrimRight(uri, "/")
	}
}

// aptProxy is the proxy that the host's apt is configured to use, or empty. The environment's proxies are handed on apart.
func (s *Store) aptProxy(ctx context.Context) string {
	if s.run.Find("apt-config") != nil {
		return ""
	}
	var out bytes.Buffer
	if err := s.run.Run(ctx, command{Argv: []string{"apt-config", "dump", "--format", "%v", "Acquire::http::Proxy"}, Out: &out}); err != nil {
		s.log.Debug("the host's apt proxy is not known", "err", err)
		return ""
	}
	proxy := strings.TrimSpace(out.String())
	if proxy == "DIRECT" {
		return ""
	}
	return proxy
}

// proxyEnv picks the variables by which tools find a proxy.
func proxyEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "no_proxy":
			return false
		}
		return true
	})
}
