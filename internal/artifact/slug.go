package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// slug turns text into a readable file name: ASCII letters, digits, dots, dashes and underscores, at most maxSlug bytes,
// never empty, hidden or a step upwards. Text that had to be cut ends in a digest of all of it, so that specs that
// differ far behind do not look alike.
func slug(text, fallback string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
			out.WriteRune(r)
		case out.Len() > 0 && !strings.HasSuffix(out.String(), "-"):
			out.WriteByte('-')
		}
	}
	name := strings.Trim(out.String(), ".-_")
	if name == "" {
		return fallback
	}
	if len(name) <= maxSlug {
		return name
	}
	digest := sha256.Sum256([]byte(text))
	suffix := "-" + hex.EncodeToString(digest[:4])
	return strings.TrimRight(name[:maxSlug-len(suffix)], ".-_") + suffix
}
