package seed

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// How cloud-init merges our two parts into the author's, which comes first. Its merging of cloud-config parts is
// described at https://docs.cloud-init.io/en/latest/reference/merging.html:
//   - prepend puts our users, files and commands before the author's. Of two entries for one user cloud-init keeps the
//     first one's values, so the author cannot take our key from our user.
//   - replace then overrides single keys, so the author's part can neither rename the machine, nor lock root out, nor
//     give it other host keys.
const (
	prepend = "dict(recurse_list)+list(prepend)+str()"
	replace = "dict(replace)+list()+str()"
)

// userDataForms are the first lines by which cloud-init knows what a part is.
var userDataForms = []string{
	"#cloud-config", "#!", "#include", "#include-once", "#cloud-boothook", "#cloud-config-archive", "#part-handler",
	"## template: jinja",
}

func multiPart(cfg Config) ([]byte, error) {
	author, err := authorPart(cfg.UserData)
	if err != nil {
		return nil, err
	}
	adds, err := cloudConfig(struct {
		MergeHow  string `yaml:"merge_how"`
		additions `yaml:",inline"`
	}{prepend, planAdditions(cfg)})
	if err != nil {
		return nil, err
	}
	wins, err := cloudConfig(struct {
		MergeHow   string `yaml:"merge_how"`
		essentials `yaml:",inline"`
	}{replace, planEssentials(cfg)})
	if err != nil {
		return nil, err
	}
	return joinParts([]part{
		author,
		textPart("text/cloud-config", "labtest-additions.yaml", adds),
		textPart("text/cloud-config", "labtest-essentials.yaml", wins),
	})
}

// part is one part of a MIME document, with its body as it goes on the wire.
type part struct {
	header textproto.MIMEHeader
	body   []byte
}

// textPart encodes the body in base64: Python's parser garbles other non-ASCII text.
func textPart(contentType, name string, content []byte) part {
	encoded := base64.StdEncoding.EncodeToString(content)
	var body bytes.Buffer
	for line := range slices.Chunk([]byte(encoded), 76) {
		body.Write(line)
		body.WriteByte('\n')
	}
	return part{body: body.Bytes(), header: textproto.MIMEHeader{
		"Content-Type":              {contentType + `; charset="utf-8"`},
		"Content-Transfer-Encoding": {"base64"},
		"Content-Disposition":       {mime.FormatMediaType("attachment", map[string]string{"filename": name})},
	}}
}

// authorPart takes what the author wrote in any form that cloud-init knows.
func authorPart(text string) (part, error) {
	first, _, _ := strings.Cut(text, "\n")
	first = strings.TrimRight(first, " \t\r")
	switch {
	case first == "#cloud-config":
		if err := checkCloudConfig(text); err != nil {
			return part{}, fmt.Errorf("user_data: %w", err)
		}
	case isMIME(first):
		nested, err := nestedPart(text)
		if err != nil {
			return part{}, fmt.Errorf("user_data: %w", err)
		}
		return nested, nil
	case !strings.HasPrefix(first, "#!") && !slices.Contains(userDataForms, first):
		return part{}, fmt.Errorf("user_data: cloud-init would ignore it: its first line is %q: want one of %q or a MIME header",
			shorten(first), userDataForms)
	}
	// cloud-init looks at the first line of a part that says text/plain.
	return textPart("text/plain", "user-data", []byte(text)), nil
}

// checkCloudConfig finds, before a machine boots for it, what cloud-init would only tell in its log.
func checkCloudConfig(text string) error {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return fmt.Errorf("read cloud-config: %w", err)
	}
	if document.Kind == 0 {
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping of cloud-config keys", root.Line)
	}
	var errs []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		switch key.Value {
		case "users", "packages", "write_files", "runcmd":
			if value.Kind != yaml.SequenceNode {
				errs = append(errs, fmt.Errorf("line %d: %s: want a list: nothing can be added to another form", key.Line, key.Value))
			}
		}
	}
	return errors.Join(errs...)
}

func isMIME(line string) bool {
	lower := strings.ToLower(line)
	return strings.HasPrefix(lower, "content-type:") || strings.HasPrefix(lower, "mime-version:")
}

// nestedPart keeps a multi-part document as it is: cloud-init walks nested ones.
func nestedPart(text string) (part, error) {
	message, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		return part{}, fmt.Errorf("read MIME headers: %w", err)
	}
	contentType := message.Header.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return part{}, fmt.Errorf("read MIME header Content-Type %q: %w", shorten(contentType), err)
	}
	if !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
		return part{}, fmt.Errorf("MIME type %q: want multipart/mixed with a boundary", shorten(contentType))
	}
	body, err := io.ReadAll(message.Body)
	if err != nil {
		return part{}, fmt.Errorf("read MIME body: %w", err)
	}
	if !bytes.Contains(body, []byte("--"+params["boundary"])) {
		return part{}, fmt.Errorf("MIME body: the boundary %q of its header never occurs", shorten(params["boundary"]))
	}
	return part{header: textproto.MIMEHeader{"Content-Type": {contentType}}, body: body}, nil
}

// joinParts writes a MIME document. The boundary is made of the content, so that the same parts give the same bytes.
func joinParts(parts []part) ([]byte, error) {
	digest := sha256.New()
	for _, p := range parts {
		digest.Write(p.body)
	}
	boundary := "labtest-" + hex.EncodeToString(digest.Sum(nil))[:32]

	var out bytes.Buffer
	out.WriteString("Content-Type: multipart/mixed; boundary=\"" + boundary + "\"\nMIME-Version: 1.0\n\n")
	writer := multipart.NewWriter(&out)
	if err := writer.SetBoundary(boundary); err != nil {
		return nil, fmt.Errorf("set MIME boundary: %w", err)
	}
	for _, p := range parts {
		w, err := writer.CreatePart(p.header)
		if err != nil {
			return nil, fmt.Errorf("add MIME part: %w", err)
		}
		if _, err := w.Write(p.body); err != nil {
			return nil, fmt.Errorf("add MIME part: %w", err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("end MIME document: %w", err)
	}
	return out.Bytes(), nil
}
