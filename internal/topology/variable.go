package topology

import (
	"regexp"
	"strings"
)

// sourceFolder is where the sources of a topology are looked for.
type sourceFolder struct {
	dir    string
	lookup func(variable string) (string, bool)
}

// variablePattern is text with variables: literal text and variables take turns.
type variablePattern []variablePart

// variablePart is literal text, or a variable where name is set.
type variablePart struct {
	literal, name, fallback string
	hasFallback             bool
}

var variableReference = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?$`)

// parseVariables splits text at ${VAR} and ${VAR:-default}. A dollar sign without a brace is literal.
func parseVariables(text string) (variablePattern, *complaint) {
	if text == "" {
		return nil, &complaint{"the path is empty", "name a file or a folder of the host"}
	}
	if strings.ContainsRune(text, 0) {
		return nil, &complaint{quote(text) + " has a NUL in it", "name a file or a folder of the host"}
	}
	var pattern variablePattern
	for text != "" {
		literal, rest, found := strings.Cut(text, "${")
		if literal != "" {
			pattern = append(pattern, variablePart{literal: literal})
		}
		if !found {
			break
		}
		reference, after, closed := strings.Cut(rest, "}")
		groups := variableReference.FindStringSubmatch(reference)
		if !closed || groups == nil || strings.Contains(reference, "${") {
			return nil, &complaint{quote("${"+rest) + " is not a variable", "write ${NAME} or ${NAME:-default}"}
		}
		pattern = append(pattern, variablePart{name: groups[1], hasFallback: groups[2] != "", fallback: groups[3]})
		text = after
	}
	return pattern, nil
}

// expand puts in the values. Variables that are unset or empty and have no default stay as they are and are returned.
func (p variablePattern) expand(lookup func(string) (string, bool)) (text string, unset []string) {
	var b strings.Builder
	for _, part := range p {
		set := ""
		if part.name != "" {
			set, _ = lookup(part.name)
		}
		switch {
		case part.name == "":
			b.WriteString(part.literal)
		case set != "":
			b.WriteString(set)
		case part.hasFallback:
			b.WriteString(part.fallback)
		default:
			unset = append(unset, part.name)
			b.WriteString("${" + part.name + "}")
		}
	}
	return b.String(), unset
}
