package image

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// explain adds what to do to a download that failed.
func (s *Store) explain(err error, name, from string) error {
	if spaceHint(err, s.cfg.Dir) != err { //nolint:errorlint // the same error, or one with a hint: that is the remedy.
		return fmt.Errorf("download %s: %w", from, err)
	}
	var refused *refusedError
	var wrong *digestError
	importName := name
	if strings.Contains(name, "://") {
		importName = "NAME"
	}
	remedy := fmt.Sprintf("fetch the file elsewhere and run: labtest image import FILE --name %s; or name a mirror in your own catalog%s; or set HTTPS_PROXY",
		importName, s.catalogHint())
	switch {
	case errors.As(err, &wrong):
		remedy = "if the publisher lists that digest, correct the catalog's; else the mirror or a proxy changes the file"
	case errors.As(err, &refused) && (refused.code == http.StatusNotFound || refused.code == http.StatusGone):
		remedy = fmt.Sprintf("the publisher has withdrawn it: name a newer build in your own catalog%s, or import a copy: labtest image import FILE --name %s",
			s.catalogHint(), importName)
	}
	return fmt.Errorf("download %s: %w; %s", from, err, remedy)
}

func (s *Store) catalogHint() string {
	if s.cfg.Catalog == "" {
		return ""
	}
	return " (" + s.cfg.Catalog + ")"
}
