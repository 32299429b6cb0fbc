package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Bounds of a topology file. They are far above any real one and keep a hostile or wrong file from costing time.
const (
	maxFileBytes = 1 << 20
	maxDepth     = 32
	maxValues    = 20_000
)

// document reads data as exactly one YAML document and returns its top node, or nil after reporting why not.
func document(r *report, data []byte) *yaml.Node {
	if !isText(r, data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	first, err := decodeNode(decoder)
	switch {
	case errors.Is(err, io.EOF):
		return reportEmpty(r)
	case err != nil:
		reportSyntax(r, data, err)
		return nil
	}
	second, err := decodeNode(decoder)
	switch {
	case err == nil:
		r.addf(mark{}.at(second.Line, second.Column), "keep one topology in a file",
			"a second YAML document begins here")
		return nil
	case !errors.Is(err, io.EOF):
		reportSyntax(r, data, err)
		return nil
	}
	if len(first.Content) == 0 || isNull(first.Content[0]) {
		return reportEmpty(r)
	}
	if !isBounded(r, first.Content[0]) {
		return nil
	}
	return first.Content[0]
}

func reportEmpty(r *report) *yaml.Node {
	r.addf(mark{}, "write at least nodes: [{name: alice}]", "the file is empty")
	return nil
}

// isText refuses what is no UTF-8 text before the YAML library sees it, with a better position than it would give.
func isText(r *report, data []byte) bool {
	if len(data) > maxFileBytes {
		r.addf(mark{}, "deploy large content as a file", "the file has %d bytes, the limit is %d", len(data), maxFileBytes)
		return false
	}
	line, column := 1, 1
	for offset := 0; offset < len(data); {
		char, size := utf8.DecodeRune(data[offset:])
		if !isTextRune(char, size) {
			r.addf(mark{}.at(line, column), "a topology is YAML in UTF-8",
				"this is not text: byte 0x%02x", data[offset])
			return false
		}
		offset += size
		column++
		if char == '\n' {
			line, column = line+1, 1
		}
	}
	return true
}

// isTextRune follows YAML 1.2, section 5.1: what a YAML stream may contain.
func isTextRune(char rune, size int) bool {
	switch {
	case char == utf8.RuneError && size == 1:
		return false
	case char == '\t' || char == '\n' || char == '\r' || char == 0x85:
		return true
	case char < 0x20, char >= 0x7f && char < 0xa0, char == 0xfffe, char == 0xffff:
		return false
	}
	return true
}

// decodeNode reads the next document. The library signals broken input of some rare kinds by a panic; for a reader of
// foreign files that is an error like any other.
func decodeNode(decoder *yaml.Decoder) (node *yaml.Node, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			node, err = nil, fmt.Errorf("yaml: %v", cause)
		}
	}()
	node = new(yaml.Node)
	return node, decoder.Decode(node)
}

var syntaxError = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// syntaxMessage returns the library's message without the line, which it counts in several ways.
func syntaxMessage(err error) string { return syntaxError.FindStringSubmatch(err.Error())[2] }

// reportSyntax reports a file that is no YAML.
func reportSyntax(r *report, data []byte, err error) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	index := syntaxLine(lines, err)
	column := len(lines[index]) - len(bytes.TrimLeft(lines[index], " \t")) + 1
	r.addf(mark{}.at(index+1, column), "correct the YAML; an indentation, a quote or a bracket is the usual cause",
		"this is not valid YAML: %s", quote(syntaxMessage(err)))
}

// syntaxLine returns the index of the line where the file goes wrong: the last one of the shortest part of the file
// that fails in the same way. The library's own line is often that of the enclosing block; it has to do for files so
// long that looking would take seconds.
func syntaxLine(lines [][]byte, err error) int {
	const longest = 10_000
	if len(lines) > longest {
		line, _ := strconv.Atoi(syntaxError.FindStringSubmatch(err.Error())[1])
		return min(max(line-1, 0), len(lines)-1)
	}
	return sort.Search(len(lines)-1, func(i int) bool {
		partial := firstError(bytes.Join(lines[:i+1], nil))
		return partial != nil && syntaxMessage(partial) == syntaxMessage(err)
	})
}

// firstError returns the error that ends reading all documents of data, or nil.
func firstError(data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		switch _, err := decodeNode(decoder); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// isBounded refuses documents that are too deep or, with their aliases written out, too large.
func isBounded(r *report, top *yaml.Node) bool {
	values := 0
	var walk func(node *yaml.Node, depth int) bool
	walk = func(node *yaml.Node, depth int) bool {
		place := mark{}.at(node.Line, node.Column)
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		values++
		switch {
		case depth > maxDepth:
			r.addf(place, "a topology needs far fewer levels; an alias must not stand inside its own anchor",
				"the file nests more than %d levels deep", maxDepth)
			return false
		case values > maxValues:
			r.addf(place, "use count for many alike nodes, and fewer aliases",
				"the file has more than %d values, aliases written out", maxValues)
			return false
		}
		for _, child := range node.Content {
			if !walk(child, depth+1) {
				return false
			}
		}
		return true
	}
	return walk(top, 1)
}
