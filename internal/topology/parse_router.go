package topology

import "net/netip"

// rawRouter is an entry of routers as the file has it.
type rawRouter struct {
	at              mark
	name            field[string]
	nat             rawNAT
	firewall        field[string]
	inside, outside rawInterface
	conditions      rawConditions
}

// rawInterface is what a router says about one of its two networks.
type rawInterface struct {
	network    field[string]
	ip         field[netip.Addr]
	conditions rawConditions
}

// rawNAT is what a router says about NAT: a name, or a mapping with more.
type rawNAT struct {
	at                        mark
	given                     bool
	kind                      field[NAT]
	mapping, filtering, ports field[string]
	hairpin                   field[bool]
	udpTimeout, tcpTimeout    field[float64]
	forwards                  []field[Forward]
}

var routerKeys = keySet{
	what: "a router",
	known: []string{
		"name", "inside", "outside", "nat", "firewall", "ip_inside", "ip_outside",
		"conditions", "inside_conditions", "outside_conditions",
	},
	refused: map[string]string{
		"networks":           "write inside: and outside: with a network's name each",
		"lan":                "write inside",
		"wan":                "write outside",
		"ip":                 "write ip_inside and ip_outside",
		"address":            "write ip_inside and ip_outside",
		"public_ip":          "write ip_outside",
		"gateway":            "remove it: the default route leads over the outside network",
		"routes":             "remove it: routes to all networks of the topology are worked out",
		"forwards":           "write nat: {type: ..., forwards: [\"tcp:8022:192.168.10.5:22\"]}",
		"ports":              "write nat: {type: ..., forwards: [\"tcp:8022:192.168.10.5:22\"]}",
		"port_forwards":      "write nat: {type: ..., forwards: [\"tcp:8022:192.168.10.5:22\"]}",
		"hairpin":            "write nat: {type: ..., hairpin: true}",
		"mapping":            "write nat: {mapping: ..., filtering: ...}",
		"filtering":          "write nat: {mapping: ..., filtering: ...}",
		"type":               "write nat",
		"nat_type":           "write nat",
		"behind_nat":         "write nat",
		"network_conditions": "write conditions",
		"preset":             "write conditions: {preset: ...}",
		"latency_ms":         "write conditions: {latency_ms: ...}",
		"image":              "remove it: a router is a part of the fabric, not a machine; a node with two networks can be one too",
		"mtu":                "write mtu in the networks",
		"comment":            "write a YAML comment: # ...",
		"notes":              "write a YAML comment: # ...",
	},
}

var natKeys = keySet{
	what:  "nat",
	known: []string{"type", "mapping", "filtering", "ports", "hairpin", "udp_timeout_s", "tcp_timeout_s", "forwards"},
	refused: map[string]string{
		"kind":          "write type",
		"name":          "write type",
		"hairpinning":   "write hairpin",
		"timeout":       "write udp_timeout_s and tcp_timeout_s",
		"udp_timeout":   "write udp_timeout_s: 30 for 30 s",
		"tcp_timeout":   "write tcp_timeout_s: 30 for 30 s",
		"port_forwards": "write forwards",
		"firewall":      "write firewall in the router",
	},
}

func parseRouters(r *report, v value) []rawRouter {
	var routers []rawRouter
	right := "write routers: [{name: gw, inside: site, outside: wan, nat: symmetric}]"
	for _, entry := range r.list(v, right).value {
		m := r.mapping(entry, routerKeys)
		routers = append(routers, rawRouter{
			at:         entry.at,
			name:       r.str(m.need(r, "name", "name: gw")),
			nat:        parseNAT(r, m.get("nat")),
			firewall:   r.str(m.get("firewall")),
			conditions: parseConditions(r, m.get("conditions")),
			inside: rawInterface{
				network:    r.str(m.need(r, "inside", "inside: site")),
				ip:         convert(r, r.str(m.get("ip_inside")), parseIP),
				conditions: parseConditions(r, m.get("inside_conditions")),
			},
			outside: rawInterface{
				network:    r.str(m.need(r, "outside", "outside: wan")),
				ip:         convert(r, r.str(m.get("ip_outside")), parseIP),
				conditions: parseConditions(r, m.get("outside_conditions")),
			},
		})
	}
	return routers
}

func parseNAT(r *report, v value) rawNAT {
	nat := rawNAT{at: v.at, given: v.node != nil}
	if v.node == nil || isScalar(v.node) {
		nat.kind = convert(r, r.str(v), findNAT)
		return nat
	}
	m := r.mapping(v, natKeys)
	nat.kind = convert(r, r.str(m.get("type")), findNAT)
	nat.kind.bad = nat.kind.bad || !m.usable
	nat.mapping, nat.filtering = r.str(m.get("mapping")), r.str(m.get("filtering"))
	nat.ports = r.str(m.get("ports"))
	nat.hairpin = r.boolean(m.get("hairpin"))
	nat.udpTimeout = r.number(m.get("udp_timeout_s"), "seconds")
	nat.tcpTimeout = r.number(m.get("tcp_timeout_s"), "seconds")
	for _, entry := range r.list(m.get("forwards"), "write a list of entries; "+forwardForm).value {
		nat.forwards = append(nat.forwards, convert(r, r.scalar(entry, forwardForm, "!!str"), parseForward))
	}
	return nat
}
