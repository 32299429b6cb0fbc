package topology

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// value is a YAML node with its place; node is nil where the file says nothing.
type value struct {
	node *yaml.Node
	at   mark
	// keyAt is the place of the key in front of the value, where there is one.
	keyAt mark
	// bad tells that a problem with the value is already reported.
	bad bool
}

// newValue returns node, or what it is an alias of, as a value.
func newValue(node *yaml.Node, at mark) value {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return value{node: node, at: at.at(node.Line, node.Column)}
}

// keySet says which keys a mapping may have.
type keySet struct {
	// what names the mapping in messages, with its article.
	what  string
	known []string
	// refused maps keys that authors may expect, mostly those of benchScale's own files, to what to write instead.
	refused map[string]string
}

// mapping is a YAML mapping whose keys have been checked.
type mapping struct {
	at      mark
	entries map[string]value
	// usable is false where the value is absent or no mapping.
	usable bool
}

// get returns the value of a key; where it is absent, the value's place is that of the mapping.
func (m mapping) get(key string) value {
	if v, ok := m.entries[key]; ok {
		return v
	}
	return value{at: m.at.key(key), keyAt: m.at.key(key)}
}

// has tells whether the mapping has the key.
func (m mapping) has(key string) bool {
	_, ok := m.entries[key]
	return ok
}

// need is get for a key that must be there.
func (m mapping) need(r *report, key, example string) value {
	v := m.get(key)
	if m.usable && !m.has(key) {
		r.addf(v.at, "write for example "+example, "%s is missing", key)
		v.bad = true
	}
	return v
}

// mapping reads v as a mapping and reports unknown, refused, repeated and empty keys.
func (r *report) mapping(v value, keys keySet) mapping {
	m := r.freeMapping(v, "want "+keys.what+" with some of the keys "+strings.Join(keys.known, ", "))
	for _, key := range sortedKeys(m.entries) {
		if slices.Contains(keys.known, key) {
			continue
		}
		at := m.entries[key].keyAt
		if right, refused := keys.refused[key]; refused {
			r.addf(at, right, "%s is not a key of %s", quote(key), keys.what)
		} else {
			r.addf(at, didYouMean(key, keys.known), "%s is not a key of %s", quote(key), keys.what)
		}
		delete(m.entries, key)
	}
	return m
}

// freeMapping reads v as a mapping with any keys.
func (r *report) freeMapping(v value, right string) mapping {
	m := mapping{at: v.at, entries: map[string]value{}}
	if v.node == nil || v.bad {
		return m
	}
	if v.node.Kind != yaml.MappingNode {
		r.addf(v.at, right, "%s is not a mapping", describe(v.node))
		return m
	}
	m.usable = true
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		r.entry(m, v.node.Content[i], v.node.Content[i+1])
	}
	return m
}

// entry adds one key and its value to m.
func (r *report) entry(m mapping, keyNode, valueNode *yaml.Node) {
	key := newValue(keyNode, m.at)
	here := m.at.at(keyNode.Line, keyNode.Column)
	switch {
	case key.node.Kind != yaml.ScalarNode || isNull(key.node):
		r.addf(here, "write keys as plain words", "%s cannot be a key", describe(key.node))
		return
	case key.node.ShortTag() == "!!merge":
		r.addf(here.key("<<"), "write the keys out, or use an alias for a whole value", "merge keys are not supported")
		return
	}
	name := key.node.Value
	if earlier, repeated := m.entries[name]; repeated {
		r.addf(here.key(name), "keep one of them", "the key is given twice, first in line %d", earlier.keyAt.line)
		return
	}
	v := newValue(valueNode, m.at.key(name))
	v.keyAt = here.key(name)
	if isNull(v.node) {
		v.bad = true
		r.addf(v.keyAt, "give it one, or remove the key", "%s has no value", quote(name))
	}
	m.entries[name] = v
}

// list reads v as a list of values. It is bad where v is no list.
func (r *report) list(v value, right string) field[[]value] {
	f := field[[]value]{at: v.at, given: v.node != nil, bad: v.bad}
	if !f.usable() {
		return f
	}
	if v.node.Kind != yaml.SequenceNode {
		r.reject(&f, complaint{describe(v.node) + " is not a list", right})
		return f
	}
	for i, node := range v.node.Content {
		entry := newValue(node, v.at.index(i))
		if isNull(entry.node) {
			entry.bad = true
			r.addf(entry.at, "remove the entry, or give it a value", "the entry is empty")
		}
		f.value = append(f.value, entry)
	}
	return f
}

// str reads v as text; a number or a boolean is not text.
func (r *report) str(v value) field[string] {
	return r.scalar(v, "want text; put it in quotes if it is meant to be text", "!!str", "!!timestamp")
}

// text reads v as text and takes numbers and booleans as they are written.
func (r *report) text(v value) field[string] {
	return r.scalar(v, "want text, a number or a boolean", "!!str", "!!timestamp", "!!int", "!!float", "!!bool")
}

// texts reads v as a list of texts.
func (r *report) texts(v value, right string) []field[string] {
	var texts []field[string]
	for _, entry := range r.list(v, right).value {
		texts = append(texts, r.str(entry))
	}
	return texts
}

// scalar reads v as a scalar with one of the tags.
func (r *report) scalar(v value, right string, tags ...string) field[string] {
	f := field[string]{at: v.at, given: v.node != nil, bad: v.bad}
	if !f.usable() {
		return f
	}
	if v.node.Kind != yaml.ScalarNode || !slices.Contains(tags, v.node.ShortTag()) {
		r.reject(&f, complaint{describe(v.node) + " does not fit here", right})
		return f
	}
	f.value = v.node.Value
	return f
}

// number reads v as a finite decimal number, fractions included. Unit names what is counted.
func (r *report) number(v value, unit string) field[float64] {
	f := r.scalar(v, "write "+numberExample(v)+": a number of "+unit+", without unit and without quotes", "!!int", "!!float")
	return convert(r, f, func(text string) (float64, *complaint) { return parseNumber(text, unit) })
}

var leadingNumber = regexp.MustCompile(`^\s*[0-9]{1,9}(\.[0-9]{1,9})?`)

// numberExample returns the key of v with the number that the author seems to mean.
func numberExample(v value) string {
	key, number := v.at.path[strings.LastIndex(v.at.path, ".")+1:], "1"
	if v.node != nil {
		if meant := strings.TrimSpace(leadingNumber.FindString(v.node.Value)); meant != "" {
			number = meant
		}
	}
	return key + ": " + number
}

func parseNumber(text, unit string) (float64, *complaint) {
	digits := strings.TrimLeft(text, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return 0, &complaint{quote(text) + " begins with 0, which YAML reads as octal", "write it without the 0"}
	}
	number, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	if err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
		return 0, &complaint{quote(text) + " is not a finite decimal number", "write a number of " + unit}
	}
	return number, nil
}

// boolean reads v as true or false.
func (r *report) boolean(v value) field[bool] {
	f := r.scalar(v, "write true or false", "!!bool")
	return convert(r, f, func(text string) (bool, *complaint) { return strings.EqualFold(text, "true"), nil })
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// describe names a YAML value in a message.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch node.ShortTag() {
	case "!!null":
		return "an empty value"
	case "!!int", "!!float":
		return "the number " + bare(node.Value)
	case "!!bool":
		return "the boolean " + bare(node.Value)
	case "!!str", "!!timestamp":
		return "the text " + quote(node.Value)
	}
	return "a value tagged " + quote(node.Tag)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func isScalar(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode }
