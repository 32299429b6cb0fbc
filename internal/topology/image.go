package topology

import (
	"path/filepath"
	"regexp"
	"strings"
)

// image is a node's image as the file has it.
type image struct {
	written string
	isPath  bool
}

var (
	catalogName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	imageURL    = regexp.MustCompile(`^https?://[^/\s#]+/[^\s#]+$`)
	imageDigest = regexp.MustCompile(`^(sha256=[0-9a-fA-F]{64}|sha512=[0-9a-fA-F]{128})$`)
	imageFile   = regexp.MustCompile(`\.(qcow2|img|raw)$`)
)

// parseImage tells catalog names, paths and URLs apart. A URL needs its digest.
func parseImage(text string) (image, *complaint) {
	const right = "write a name of the catalog such as debian-12, a path such as ./disk.qcow2, or a URL with its digest"
	switch {
	case strings.Contains(text, "://"):
		return image{written: text}, checkImageURL(text)
	case strings.ContainsAny(text, "\x00\n\r"):
		return image{}, &complaint{quote(text) + " is not an image", right}
	case strings.HasPrefix(text, "~"):
		return image{}, &complaint{quote(text) + " begins with ~, which stands for nothing here", "write the whole path"}
	case strings.Contains(text, "/") || imageFile.MatchString(text):
		return image{written: text, isPath: true}, nil
	case !catalogName.MatchString(text):
		return image{}, &complaint{quote(text) + " is not an image", right}
	}
	return image{written: text}, nil
}

func checkImageURL(text string) *complaint {
	address, digest, _ := strings.Cut(text, "#")
	switch {
	case strings.HasPrefix(text, "file://"):
		return &complaint{quote(text) + " is a file of this host", "write its path without file://"}
	case !imageURL.MatchString(address):
		return &complaint{quote(text) + " is not the URL of an image", "write https://host/path#sha256=..."}
	case !imageDigest.MatchString(digest):
		return &complaint{
			quote(text) + " has no whole digest, so nobody could tell whether the download is right",
			"append #sha256= and 64 hex digits, or #sha512= and 128",
		}
	}
	return nil
}

// resolved returns the image with a path made absolute.
func (i image) resolved(dir string) string {
	if i.isPath && !filepath.IsAbs(i.written) {
		return filepath.Join(dir, i.written)
	}
	return i.written
}

// isImagePath tells whether a planned image is a file of the host; planned paths are absolute.
func isImagePath(planned string) bool { return filepath.IsAbs(planned) }

// isImageURL tells whether a planned image is to be downloaded.
func isImageURL(planned string) bool { return strings.Contains(planned, "://") }
