package seed

import (
	"bytes"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// encode marshals document as YAML.
func encode(document any) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return out.Bytes(), nil
}

// text is a string of the author's, which may hold anything. It is quoted where that is in doubt, because cloud-init's
// parser reads YAML 1.1, where a lone = (common in commands) is an error and yes is true, and because the encoder's
// literal blocks get a leading blank wrong.
type text string

// MarshalYAML chooses a style that both parsers read as meant, and a literal block where people may want to read it.
func (t text) MarshalYAML() (any, error) {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: string(t), Style: yaml.DoubleQuotedStyle}
	if strings.Contains(node.Value, "\n") && strings.TrimLeft(node.Value, " \t\n") == node.Value &&
		!strings.ContainsFunc(node.Value, unusual) {
		node.Style = yaml.LiteralStyle
	}
	return node, nil
}

// texts marks every one of list as the author's.
func texts(list []string) []text {
	out := make([]text, len(list))
	for i, s := range list {
		out[i] = text(s)
	}
	return out
}
