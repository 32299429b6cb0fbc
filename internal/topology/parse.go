package topology

// rawTopology is the file as it is, with the places of its values.
type rawTopology struct {
	at                         mark
	name, description, version field[string]
	tags                       []field[string]
	networks                   field[[]rawNetwork]
	routers                    []rawRouter
	nodes                      []rawNode
	nodesAt                    mark
	seed                       field[uint64]
	captures                   []rawCapture
	// legacy tells that the file has the flat form.
	legacy bool
	// tooLarge tells that there are too many machines to plan.
	tooLarge bool
}

var topologyKeys = keySet{
	what:  "a topology",
	known: []string{"metadata", "network", "networks", "routers", "nodes", "seed", "captures"},
	refused: map[string]string{
		"tests":                   "write Ginkgo specs, or a labtest.Scenario file",
		"validation":              "write Ginkgo specs with Gomega assertions",
		"deployment_instructions": "write a YAML comment: # ...",
		"notes":                   "write a YAML comment: # ...",
		"comment":                 "write a YAML comment: # ...",
		"name":                    "write metadata: {name: ...}",
		"description":             "write metadata: {description: ...}",
		"version":                 "write metadata: {version: ...}",
		"conditions":              "write conditions in a network, or network_conditions in a node",
		"network_conditions":      "write conditions in a network, or network_conditions in a node",
		"router":                  "write routers: [{name: ..., inside: ..., outside: ..., nat: ...}]",
		"capture":                 "write captures: [{network: ...}], or capture: true in a network",
		"pcap":                    "write captures: [{network: ...}], or capture: true in a network",
		"random_seed":             "write seed",
		"network_presets":         "write preset: ... in a network or in network_conditions; the presets are built in",
		"presets":                 "write preset: ... in a network or in network_conditions; the presets are built in",
		"nat":                     "write routers: [{name: ..., inside: ..., outside: ..., nat: ...}]",
		"links":                   "write networks in each node; every entry is a link",
		"partitions":              "make them in a spec: lab.Partition",
		"node":                    "write nodes: [{name: ...}]",
		"vms":                     "write nodes: [{name: ...}]",
		"scenarios":               "write Ginkgo specs, or a labtest.Scenario file",
		"lab_name":                "write metadata: {name: ...}; lab_name belongs to the legacy flat form, which has no other sections",
		"network_subnet":          "write network: {name: ..., subnet: ...}; network_subnet belongs to the legacy flat form",
	},
}

var metadataKeys = keySet{
	what:  "metadata",
	known: []string{"name", "description", "version", "tags"},
	refused: map[string]string{
		"bond_type":        "write it as a tag, such as tags: [covalent]",
		"deployment_class": "write it as a tag, such as tags: [edge]",
		"source_showcase":  "write it in the description",
		"author":           "write it in the description",
		"comment":          "write a YAML comment: # ...",
		"notes":            "write a YAML comment: # ...",
	},
}

// parse turns a file into typed values. It returns nil where there is nothing to go on with.
func parse(r *report, data []byte) *rawTopology {
	top := document(r, data)
	if top == nil {
		return nil
	}
	v := newValue(top, mark{})
	if isLegacy(v) {
		return parseLegacy(r, v)
	}
	m := r.mapping(v, topologyKeys)
	if !m.usable {
		return nil
	}
	nodes := m.need(r, "nodes", "nodes: [{name: alice}]")
	raw := &rawTopology{
		at:       v.at,
		networks: parseNetworks(r, m),
		routers:  parseRouters(r, m.get("routers")),
		nodes:    parseNodes(r, nodes),
		nodesAt:  nodes.at,
		seed:     convert(r, r.scalar(m.get("seed"), "write a whole number, such as seed: 12345", "!!int", "!!float"), parseSeed),
		captures: parseCaptures(r, m.get("captures")),
	}
	parseMetadata(r, m.get("metadata"), raw)
	return raw
}

func parseMetadata(r *report, v value, raw *rawTopology) {
	m := r.mapping(v, metadataKeys)
	raw.name = r.str(m.get("name"))
	raw.description = r.text(m.get("description"))
	raw.version = r.text(m.get("version"))
	for _, tag := range r.list(m.get("tags"), "write tags: [wan, nat]").value {
		raw.tags = append(raw.tags, r.text(tag))
	}
}
