package topology

import (
	"regexp"
	"strconv"
)

// mark is a place in a topology file: a position, and the YAML path that leads to it.
type mark struct {
	line, column int
	path         string
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// key returns the mark of an entry of the mapping at m, for the time being at the position of the mapping itself.
func (m mark) key(name string) mark {
	if !plainKey.MatchString(name) {
		m.path += "[" + quote(name) + "]"
		return m
	}
	if m.path != "" {
		m.path += "."
	}
	m.path += name
	return m
}

// index returns the mark of an entry of the list at m, for the time being at the position of the list itself.
func (m mark) index(i int) mark {
	m.path += "[" + strconv.Itoa(i) + "]"
	return m
}

// at returns m moved to another position.
func (m mark) at(line, column int) mark {
	m.line, m.column = max(line, 1), max(column, 1)
	return m
}

var bareWord = regexp.MustCompile(`^[A-Za-z0-9+._-]{1,40}$`)

// bare returns a word as it is and quotes everything else.
func bare(text string) string {
	if bareWord.MatchString(text) {
		return text
	}
	return quote(text)
}

// quote quotes text of a topology file for a message and cuts it to a readable length.
func quote(text string) string {
	const longest = 60
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "..."
	}
	return strconv.Quote(text)
}
