package domain

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Namespace is the XML namespace of the labels in a domain's metadata.
const Namespace = "https://ionlab.example/labtest/1"

// ErrNoLabels says that a domain is not a lab's.
var ErrNoLabels = errors.New("the domain has no labtest labels: it is not a lab's")

// Labels say what a domain is for. They live in its metadata, survive save and restore, and are the only registry of
// labs: a domain without them is never touched.
type Labels struct {
	Lab            string // id of the lab; required
	Owner          string // who may destroy it; required
	Topology       string
	TopologyDigest string
	Node           string            // required
	Addresses      map[string]string // by network
}

type labelsOut struct {
	XMLName   xml.Name     `xml:"labtest:lab"`
	Namespace string       `xml:"xmlns:labtest,attr"`
	Lab       string       `xml:"id,attr"`
	Owner     string       `xml:"owner,attr"`
	Node      string       `xml:"node,attr"`
	Topology  string       `xml:"topology,attr,omitempty"`
	Digest    string       `xml:"digest,attr,omitempty"`
	Addresses []addressOut `xml:"labtest:address"`
}

type addressOut struct {
	Network string `xml:"network,attr"`
	Value   string `xml:",chardata"`
}

func (l Labels) xml() (string, error) {
	out := labelsOut{
		Namespace: Namespace, Lab: l.Lab, Owner: l.Owner, Node: l.Node, Topology: l.Topology, Digest: l.TopologyDigest,
	}
	for _, network := range slices.Sorted(maps.Keys(l.Addresses)) {
		out.Addresses = append(out.Addresses, addressOut{Network: network, Value: l.Addresses[network]})
	}
	text, err := xml.MarshalIndent(out, "    ", "  ")
	if err != nil {
		return "", fmt.Errorf("encode XML: %w", err)
	}
	return "\n" + string(text) + "\n  ", nil
}

type labelsIn struct {
	Lab       string      `xml:"id,attr"`
	Owner     string      `xml:"owner,attr"`
	Node      string      `xml:"node,attr"`
	Topology  string      `xml:"topology,attr"`
	Digest    string      `xml:"digest,attr"`
	Addresses []addressIn `xml:"https://ionlab.example/labtest/1 address"`
}

type addressIn struct {
	Network string `xml:"network,attr"`
	Value   string `xml:",chardata"`
}

// ParseLabels reads the labels from a domain's XML. The error wraps ErrNoLabels if the domain is not a lab's: leave
// such a one alone.
func ParseLabels(text string) (Labels, error) {
	decoder := xml.NewDecoder(strings.NewReader(text))
	var depth []string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return Labels{}, fmt.Errorf("read labels: %w", ErrNoLabels)
		}
		if err != nil {
			return Labels{}, fmt.Errorf("read labels: parse domain XML: %w", err)
		}
		switch element := token.(type) {
		case xml.StartElement:
			name := element.Name
			if name.Space == Namespace && name.Local == "lab" && slices.Equal(depth, []string{"domain", "metadata"}) {
				return decodeLabels(decoder, element)
			}
			depth = append(depth, name.Local)
		case xml.EndElement:
			depth = depth[:len(depth)-1]
		}
	}
}

func decodeLabels(decoder *xml.Decoder, start xml.StartElement) (Labels, error) {
	var in labelsIn
	if err := decoder.DecodeElement(&in, &start); err != nil {
		return Labels{}, fmt.Errorf("read labels: %w", err)
	}
	out := Labels{Lab: in.Lab, Owner: in.Owner, Node: in.Node, Topology: in.Topology, TopologyDigest: in.Digest}
	if missing := out.missing(); len(missing) > 0 {
		return Labels{}, fmt.Errorf("read labels: %s missing", strings.Join(missing, " and "))
	}
	for _, address := range in.Addresses {
		if out.Addresses == nil {
			out.Addresses = map[string]string{}
		}
		out.Addresses[address.Network] = address.Value
	}
	return out, nil
}

func (l Labels) missing() []string {
	var out []string
	for name, value := range map[string]string{"id": l.Lab, "owner": l.Owner, "node": l.Node} {
		if value == "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// isXMLText reports whether s goes through XML unchanged; the encoder would replace other characters silently.
func isXMLText(s string) bool {
	var escaped bytes.Buffer
	if err := xml.EscapeText(&escaped, []byte(s)); err != nil {
		return false
	}
	return strings.ContainsRune(s, '\ufffd') || !strings.ContainsRune(escaped.String(), '\ufffd')
}
