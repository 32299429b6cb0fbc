package topology

import "gopkg.in/yaml.v3"

var legacyKeys = keySet{
	what:  "the legacy flat form",
	known: []string{"lab_name", "network_subnet", "nodes"},
}

var legacyNodeKeys = keySet{
	what:  "a node of the legacy flat form",
	known: []string{"name", "image", "latency_ms", "jitter_ms", "packet_loss_percent", "bandwidth_kbps"},
}

// isLegacy tells whether the file has lab_name or network_subnet and none of today's sections.
func isLegacy(v value) bool {
	legacy := false
	if v.node.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(v.node.Content); i += 2 {
		switch v.node.Content[i].Value {
		case "metadata", "network", "networks", "routers":
			return false
		case "lab_name", "network_subnet":
			legacy = true
		}
	}
	return legacy
}

// parseLegacy converts benchScale's older form: one network, named after the lab, and the numbers of the network
// conditions in the node itself.
func parseLegacy(r *report, v value) *rawTopology {
	m := r.mapping(v, legacyKeys)
	nodes := m.need(r, "nodes", "nodes: [{name: alice}]")
	raw := &rawTopology{
		at:      v.at,
		name:    r.str(m.need(r, "lab_name", "lab_name: mesh")),
		nodesAt: nodes.at,
		legacy:  true,
	}
	network := rawNetwork{
		at:     raw.name.at,
		name:   raw.name,
		subnet: convert(r, r.str(m.need(r, "network_subnet", "network_subnet: 10.20.0.0/24")), parseSubnet),
	}
	network.name.value += "-network"
	raw.networks = field[[]rawNetwork]{value: []rawNetwork{network}, at: network.at, given: true}
	entries := r.list(nodes, "write nodes: [{name: alice}]")
	if entries.usable() && len(entries.value) == 0 {
		r.addf(nodes.at, "write nodes: [{name: alice}]", "the list has no entries")
	}
	for _, entry := range entries.value {
		raw.nodes = append(raw.nodes, parseLegacyNode(r, entry))
	}
	return raw
}

func parseLegacyNode(r *report, v value) rawNode {
	keys := legacyNodeKeys
	keys.refused = map[string]string{}
	for _, key := range nodeKeys.known {
		keys.refused[key] = "write the file with metadata, network and nodes; the legacy flat form knows no " + key
	}
	m := r.mapping(v, keys)
	return rawNode{
		at:         v.at,
		name:       r.str(m.need(r, "name", "name: alice")),
		image:      convert(r, r.str(m.get("image")), parseImage),
		conditions: rawConditions{at: v.at, given: true, both: parseImpairment(r, m)},
	}
}
