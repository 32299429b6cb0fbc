package doctor

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// mirrors only warns: what is in the store needs no network.
func mirrors(ctx context.Context, e exam) Check {
	const patience = 4 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	addresses := e.Mirrors
	if len(addresses) == 0 {
		addresses = e.aptMirrors()
	}
	results := make([]error, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { results[i] = e.Host.Reach(ctx, address) })
	}
	all.Wait()

	var silent []string
	for i, err := range results {
		if err != nil {
			silent = append(silent, fmt.Sprintf("%s: %v", addresses[i], err))
		}
	}
	if len(silent) > 0 {
		return Check{
			Status: Warn, Detail: "not reached: " + strings.Join(silent, "; ") + ": images cannot be built; those in the store work",
			Remedy: "connect the host, or name its proxy in http_proxy and https_proxy; labtest image import takes an image from a file",
		}
	}
	return ok("reached: %s", strings.Join(addresses, ", "))
}

// aptMirrors returns the distribution's own mirrors of apt's sources, or Debian's where there are none: the built-in
// images are Debian's.
func (e exam) aptMirrors() []string {
	files := []string{"/etc/apt/sources.list"}
	for _, pattern := range []string{"/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources"} {
		if more, err := e.Host.Glob(pattern); err == nil {
			files = append(files, more...)
		}
	}
	var found []string
	for _, file := range files {
		data, err := e.Host.ReadFile(file)
		if err != nil {
			continue
		}
		for _, address := range aptURIs(string(data)) {
			if isDistribution(address) && !slices.Contains(found, address) {
				found = append(found, address)
			}
		}
	}
	if len(found) == 0 {
		return []string{"http://deb.debian.org/debian"}
	}
	return found
}

// aptURIs reads both formats of sources.list(5): "deb [options] URI suite" and "URIs: URI...".
func aptURIs(sources string) []string {
	var found []string
	for line := range strings.Lines(sources) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "deb" && !strings.EqualFold(fields[0], "URIs:") {
			continue
		}
		for _, field := range fields[1:] {
			if strings.HasPrefix(field, "http://") || strings.HasPrefix(field, "https://") {
				found = append(found, strings.TrimSuffix(field, "/"))
			}
		}
	}
	return found
}

// isDistribution tells a distribution's mirror from a vendor's repository, by the folder that mirrors use.
func isDistribution(address string) bool {
	parsed, err := url.Parse(address)
	if err != nil {
		return false
	}
	return slices.Contains([]string{"debian", "debian-security", "ubuntu"}, path.Base(parsed.Path))
}
