package topology

import (
	"net/netip"
	"slices"
	"strings"
)

const (
	maxRouters = 64
	// minTimeoutS is long enough for a lab to see a mapping live.
	minTimeoutS = 0.1
	maxTimeoutS = 7 * 24 * 3600
)

func validateRouters(r *report, raw *rawTopology) {
	known := isOneOf("network", networkNames(raw.networks), anyBadName(raw.networks))
	for i := range raw.routers {
		router := &raw.routers[i]
		check(r, &router.inside.network, known)
		check(r, &router.outside.network, known)
		check(r, &router.firewall, isWord("a firewall of a router", firewalls()))
		validateNAT(r, &router.nat)
		for _, c := range []*rawConditions{&router.conditions, &router.inside.conditions, &router.outside.conditions} {
			validateConditions(r, c)
		}
		if inside, outside := router.inside.network, router.outside.network; inside.usable() && outside.usable() &&
			strings.EqualFold(inside.value, outside.value) {
			r.reject(&router.outside.network, complaint{"inside and outside are the same network", "name two networks"})
		}
	}
	validateCircles(r, raw.routers)
	for i := range raw.routers {
		validateForwards(r, &raw.routers[i], subnetsBehind(raw, &raw.routers[i]))
	}
}

// isWord returns a rule for values that are one of a few words.
func isWord(what string, words []string) func(string) *complaint {
	return func(word string) *complaint {
		if slices.Contains(words, word) {
			return nil
		}
		return &complaint{quote(word) + " is not " + what, didYouMean(word, words)}
	}
}

func validateNAT(r *report, nat *rawNAT) {
	check(r, &nat.mapping, isWord("a mapping of a NAT", behaviours()))
	check(r, &nat.filtering, isWord("a filtering of a NAT", behaviours()))
	check(r, &nat.ports, isWord("a choice of ports", portChoices()))
	check(r, &nat.udpTimeout, between("udp_timeout_s", minTimeoutS, maxTimeoutS, "seconds"))
	check(r, &nat.tcpTimeout, between("tcp_timeout_s", minTimeoutS, maxTimeoutS, "seconds"))
	switch {
	case nat.kind.bad || !nat.given:
	case !nat.kind.given && (!nat.mapping.given || !nat.filtering.given):
		r.addf(nat.at, "write for example type: full-cone, or mapping and filtering both", "the type is missing")
	case nat.kind.given && nat.kind.value.IsNone():
		for _, at := range nat.details() {
			r.addf(at, "remove it, or write another type", "without NAT it has no effect")
		}
	}
}

// details returns the places of everything that is said besides the type.
func (nat *rawNAT) details() []mark {
	var places []mark
	for _, f := range []field[string]{nat.mapping, nat.filtering, nat.ports} {
		if f.given {
			places = append(places, f.at)
		}
	}
	for _, f := range []field[float64]{nat.udpTimeout, nat.tcpTimeout} {
		if f.given {
			places = append(places, f.at)
		}
	}
	if nat.hairpin.given {
		places = append(places, nat.hairpin.at)
	}
	if len(nat.forwards) > 0 {
		places = append(places, nat.forwards[0].at)
	}
	return places
}

// validateCircles refuses routers whose insides and outsides make a circle: a packet for nowhere would go round in it,
// as each router passes it on over its outside.
func validateCircles(r *report, routers []rawRouter) {
	outsides := map[string][]string{}
	for i := range routers {
		inside, outside := &routers[i].inside.network, &routers[i].outside.network
		if !inside.usable() || !outside.usable() {
			continue
		}
		from, to := strings.ToLower(inside.value), strings.ToLower(outside.value)
		if way := wayOut(outsides, to, from); way != nil {
			r.reject(outside, complaint{
				"the routers make a circle: " + strings.Join(append([]string{from}, way...), " to "),
				"turn one of them around, so that one network is outside of all others",
			})
			continue
		}
		outsides[from] = append(outsides[from], to)
	}
}

// wayOut returns the networks from one to another, going from inside to outside only, or nil.
func wayOut(outsides map[string][]string, from, to string) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			return wayBack(before, to)
		}
		for _, next := range outsides[queue[0]] {
			if _, seen := before[next]; !seen {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	return nil
}

func wayBack(before map[string]string, to string) []string {
	var way []string
	for at := to; at != ""; at = before[at] {
		way = append(way, at)
	}
	slices.Reverse(way)
	return way
}

// subnetsBehind returns the inside subnet of a router and those of the networks further inside that are reached without
// NAT. It is empty where the inside is not known.
func subnetsBehind(raw *rawTopology, router *rawRouter) []netip.Prefix {
	var subnets []netip.Prefix
	seen := map[string]bool{}
	queue := []string{router.inside.network.value}
	for ; len(queue) > 0; queue = queue[1:] {
		network := findNetwork(raw.networks.value, queue[0])
		if network == nil || !network.subnet.usable() || seen[strings.ToLower(queue[0])] {
			continue
		}
		seen[strings.ToLower(queue[0])] = true
		subnets = append(subnets, network.subnet.value)
		for i := range raw.routers {
			if further := &raw.routers[i]; further.nat.plan().IsNone() && strings.EqualFold(further.outside.network.value, queue[0]) {
				queue = append(queue, further.inside.network.value)
			}
		}
	}
	return subnets
}
