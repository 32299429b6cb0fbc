package topology

import (
	"strconv"
	"strings"
)

// rawCapture is an entry of captures as the file has it.
type rawCapture struct {
	at      mark
	network field[string]
}

var captureKeys = keySet{
	what:  "a capture",
	known: []string{"network"},
	refused: map[string]string{
		"name":      "write network",
		"node":      "write network: ..., and take one link's capture in a spec: node.Link(...).Capture",
		"link":      "write network: ..., and take one link's capture in a spec: node.Link(...).Capture",
		"interface": "write network: ...; networks are captured as a whole",
		"file":      "remove it: the file goes to the artifacts of the run",
		"filter":    "remove it: the whole network is captured, and Wireshark filters",
	},
}

func parseCaptures(r *report, v value) []rawCapture {
	const right = "write captures: [{network: wan}]"
	var captures []rawCapture
	for _, entry := range r.list(v, right).value {
		if entry.node != nil && !entry.bad && isScalar(entry.node) {
			r.addf(entry.at, right, "%s is not a mapping", describe(entry.node))
			continue
		}
		m := r.mapping(entry, captureKeys)
		captures = append(captures, rawCapture{at: entry.at, network: r.str(m.need(r, "network", "network: wan"))})
	}
	return captures
}

func validateCaptures(r *report, raw *rawTopology) {
	known := isOneOf("network", networkNames(raw.networks), anyBadName(raw.networks))
	earlier := register{}
	for i := range raw.captures {
		c := &raw.captures[i]
		check(r, &c.network, known)
		network := findNetwork(raw.networks.value, c.network.value)
		if !c.network.usable() || network == nil {
			continue
		}
		key := strings.ToLower(c.network.value)
		if first, taken := earlier[key]; taken {
			r.addf(c.network.at, "remove one of them", "the network %s is captured by line %d already", quote(c.network.value), first.line)
			continue
		}
		earlier[key] = c.network.at
		if network.capture.usable() && !network.capture.value {
			r.addf(c.network.at, "remove one of them", "the network says capture: false in line %d", network.capture.at.line)
		}
	}
}

// isCaptured tells whether the network or an entry of captures asks for it.
func (raw *rawTopology) isCaptured(network *rawNetwork) bool {
	if network.capture.value {
		return true
	}
	for _, c := range raw.captures {
		if strings.EqualFold(c.network.value, network.name.value) {
			return true
		}
	}
	return false
}

// parseSeed reads the start of all randomness.
func parseSeed(text string) (uint64, *complaint) {
	const right = "write a whole number from 1 to 18446744073709551615, or remove it: the lab draws one and prints it"
	seed, err := strconv.ParseUint(text, 10, 64)
	switch {
	case err != nil:
		return 0, &complaint{quote(text) + " is not a seed", right}
	case seed == 0:
		return 0, &complaint{"the seed is 0, which is none", right}
	case text[0] == '0':
		return 0, &complaint{quote(text) + " begins with 0, which YAML reads as octal", "write it without the 0"}
	}
	return seed, nil
}
