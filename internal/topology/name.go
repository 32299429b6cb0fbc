package topology

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	maxLabel = 63
	// maxNodes bounds a lab, so that a slip of the finger in count does not start a thousand machines.
	maxNodes = 64
)

var (
	// dnsLabel follows RFC 1123, section 2.1: a label may begin with a digit.
	dnsLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	// looksLikeAddress is what inet_aton(3) takes for an IPv4 address, so that such a host could never be named.
	looksLikeAddress = regexp.MustCompile(`^([0-9]+|0[xX][0-9a-fA-F]*)$`)
	envName          = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// nodeNamesTaken are names that mean something else in every lab.
var nodeNamesTaken = map[string]string{
	"gateway":   "it is the name of each network's gateway",
	"control":   "it is the name of the lab's own address in each network",
	"localhost": "it is every machine's name for itself",
}

// networkNamesTaken are names that a guest would not look up in the lab's DNS.
var networkNamesTaken = map[string]string{
	"local":     "guests look up names in .local by multicast",
	"localhost": "guests answer names in .localhost themselves",
}

// isLabel complains of what is no DNS label.
func isLabel(name string) *complaint {
	const right = "use 1 to 63 letters, digits and hyphens, with a letter or digit at both ends"
	switch {
	case !dnsLabel.MatchString(name):
		return &complaint{quote(name) + " is not a DNS label", right}
	case looksLikeAddress.MatchString(name):
		return &complaint{quote(name) + " would be read as an IP address", "let the name have a letter, such as n" + name[:min(len(name), 10)]}
	}
	return nil
}

// isFreeLabel returns a rule for labels that are not taken.
func isFreeLabel(taken map[string]string) func(string) *complaint {
	return func(name string) *complaint {
		if why, is := taken[strings.ToLower(name)]; is {
			return &complaint{quote(name) + " is a reserved name: " + why, "choose another name"}
		}
		return isLabel(name)
	}
}

// register remembers where names are given; names differ in more than case, as DNS does not see it.
type register map[string]mark

// claim reports name when it is there already.
func (n register) claim(r *report, name string, at mark) {
	key := strings.ToLower(name)
	if first, taken := n[key]; taken {
		r.addf(at, "give each its own name", "the name %s is taken by line %d", quote(name), first.line)
		return
	}
	n[key] = at
}

// copies returns how many machines the node stands for.
func (n *rawNode) copies() int {
	if !n.count.usable() || n.count.value < 1 || n.count.value > maxNodes {
		return 1
	}
	return int(n.count.value)
}

// names returns the names of the machines: the node's own, or with count always numbered ones.
func (n *rawNode) names() []string {
	if !n.count.usable() {
		return []string{n.name.value}
	}
	var names []string
	for i := range n.copies() {
		names = append(names, n.name.value+"-"+strconv.Itoa(i+1))
	}
	return names
}

// validateNames looks at the names of all networks, nodes and routers.
func validateNames(r *report, raw *rawTopology) {
	check(r, &raw.name, isLabel)
	networks := register{}
	for i := range raw.networks.value {
		name := &raw.networks.value[i].name
		if name.bad = name.bad || raw.legacy && raw.name.bad; name.bad {
			continue
		}
		if check(r, name, isFreeLabel(networkNamesTaken)); name.usable() {
			networks.claim(r, name.value, name.at)
		}
	}
	machines := register{}
	for i := range raw.nodes {
		validateNodeName(r, &raw.nodes[i], machines)
	}
	for i := range raw.routers {
		name := &raw.routers[i].name
		if check(r, name, isFreeLabel(nodeNamesTaken)); name.usable() {
			machines.claim(r, name.value, name.at)
		}
	}
	validateTotal(r, raw)
}

func validateNodeName(r *report, n *rawNode, machines register) {
	check(r, &n.count, func(count float64) *complaint {
		if count != float64(int(count)) || count < 1 || count > maxNodes {
			return &complaint{
				formatNumber(count) + " is not a number of machines", fmt.Sprintf("use a whole number, 1 to %d", maxNodes),
			}
		}
		return nil
	})
	if check(r, &n.name, isFreeLabel(nodeNamesTaken)); !n.name.usable() || n.count.bad {
		return
	}
	for _, name := range n.names() {
		if len(name) > maxLabel {
			r.reject(&n.name, complaint{quote(name) + " is too long for a DNS label", "shorten the name; count appends a number"})
			return
		}
		machines.claim(r, name, n.name.at)
	}
}

func validateTotal(r *report, raw *rawTopology) {
	total := 0
	for i := range raw.nodes {
		total += raw.nodes[i].copies()
	}
	if total > maxNodes {
		r.addf(raw.nodesAt, fmt.Sprintf("use at most %d", maxNodes), "the topology has %d machines", total)
		raw.tooLarge = true
	}
	if len(raw.routers) > maxRouters {
		r.addf(raw.routers[maxRouters].at, fmt.Sprintf("use at most %d", maxRouters), "the topology has %d routers", len(raw.routers))
		raw.tooLarge = true
	}
}
