package topology

import "net/netip"

// rawNetwork is an entry of networks as the file has it.
type rawNetwork struct {
	at         mark
	name       field[string]
	subnet     field[netip.Prefix]
	internet   field[bool]
	mtu        field[float64]
	capture    field[bool]
	preset     rawConditions
	conditions rawConditions
}

var networkKeys = keySet{
	what:  "a network",
	known: []string{"name", "subnet", "internet", "mtu", "preset", "conditions", "capture"},
	refused: map[string]string{
		"type":               "remove it: every network is a private segment; internet: true lets packets out",
		"gateway":            "remove it: the first usable address of the subnet is the gateway",
		"comment":            "write a YAML comment: # ...",
		"notes":              "write a YAML comment: # ...",
		"network_conditions": "write conditions",
		"cidr":               "write subnet",
		"driver":             "remove it: every network is a private segment in the lab's own process",
		"bridge":             "remove it: no bridge of the host is used; internet: true lets packets out",
		"dhcp":               "remove it: each network has DHCP, and each node a fixed address",
		"nat":                "write routers: [{name: gw, inside: ..., outside: ..., nat: symmetric}]",
		"router":             "write routers: [{name: gw, inside: ..., outside: ..., nat: none}]",
		"routers":            "write routers beside networks, not in one",
		"captures":           "write capture: true",
		"pcap":               "write capture: true",
		"dns":                "remove it: each network has DNS for the names of its nodes",
		"latency_ms":         "write conditions: {latency_ms: ...}",
		"jitter_ms":          "write conditions: {jitter_ms: ...}",
		"bandwidth_kbps":     "write conditions: {bandwidth_kbps: ...}",

		"packet_loss_percent": "write conditions: {packet_loss_percent: ...}",
	},
}

// parseNetworks reads network and networks; a file may have one of them.
func parseNetworks(r *report, m mapping) field[[]rawNetwork] {
	short, long := m.get("network"), m.get("networks")
	networks := field[[]rawNetwork]{at: long.at, given: m.has("network") || m.has("networks")}
	if m.has("network") {
		networks.at = short.at
		networks.value = append(networks.value, parseNetwork(r, short))
	}
	if m.has("network") && m.has("networks") {
		r.addf(long.keyAt, "move the one network into networks", "network and networks are both given")
	}
	entries := r.list(long, "write networks: [{name: lan, subnet: 10.20.0.0/24}]")
	if entries.usable() && len(entries.value) == 0 {
		r.reject(&entries, complaint{
			"the list has no entries", "add one, or remove the key: without any, all nodes share one network lan",
		})
	}
	for _, entry := range entries.value {
		networks.value = append(networks.value, parseNetwork(r, entry))
	}
	// With both, nobody can tell which networks are meant.
	networks.bad = entries.bad || m.has("network") && m.has("networks")
	return networks
}

func parseNetwork(r *report, v value) rawNetwork {
	m := r.mapping(v, networkKeys)
	n := rawNetwork{
		at:       v.at,
		name:     r.str(m.need(r, "name", "name: lan")),
		subnet:   convert(r, r.str(m.need(r, "subnet", "subnet: 10.20.0.0/24")), parseSubnet),
		internet: r.boolean(m.get("internet")),
		mtu:      r.number(m.get("mtu"), "bytes"),
		capture:  r.boolean(m.get("capture")),
		preset: rawConditions{
			at: m.get("preset").keyAt, given: m.has("preset"),
			both: rawImpairment{preset: convert(r, r.str(m.get("preset")), findPreset)},
		},
		conditions: parseConditions(r, m.get("conditions")),
	}
	if second := n.conditions.both.preset; n.preset.given && second.given {
		r.addf(second.at, "keep one of them", "the network has two presets, the other in line %d", n.preset.at.line)
	}
	if !m.usable {
		n.name.bad, n.subnet.bad = true, true
	}
	return n
}

// parseSubnet reads an IPv4 prefix of a usable size.
func parseSubnet(text string) (netip.Prefix, *complaint) {
	const example = "write one such as 10.20.0.0/24"
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return prefix, &complaint{quote(text) + " is not a subnet in CIDR form", example}
	case !prefix.Addr().Is4():
		return prefix, &complaint{"IPv6 subnets are not supported yet", example + "; guests may use IPv6 link-local addresses on it"}
	case prefix.Bits() < 8 || prefix.Bits() > 29:
		return prefix, &complaint{quote(text) + " has a prefix length out of range", "use /8 to /29"}
	case prefix != prefix.Masked():
		return prefix, &complaint{quote(text) + " is an address inside a subnet", "write " + prefix.Masked().String()}
	case !isUnicast(prefix):
		return prefix, &complaint{quote(text) + " is not for ordinary hosts", "use a private range: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"}
	}
	return prefix, nil
}

// isUnicast tells whether hosts may have the addresses (RFC 6890: not 0/8, 127/8 and 224/4 upward).
func isUnicast(prefix netip.Prefix) bool {
	first := prefix.Addr().As4()[0]
	return first != 0 && first != 127 && first < 224
}
