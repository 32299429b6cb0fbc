package topology

// planUnsupported reports what no lab can do yet, at its places in the file.
func planUnsupported(file string, raw *rawTopology) Problems {
	r := &report{file: file}
	for _, router := range raw.routers {
		r.addf(router.at, "remove the router; a node on both networks can forward meanwhile",
			"routers are not supported yet")
	}
	for _, c := range raw.captures {
		r.addf(c.at, "remove it; tcpdump in a node can capture meanwhile", "captures are not supported yet")
	}
	for i := range raw.networks.value {
		n := &raw.networks.value[i]
		if n.capture.value {
			r.addf(n.capture.at, "remove it; tcpdump in a node can capture meanwhile", "captures are not supported yet")
		}
		unsupportedConditions(r, n.preset)
		unsupportedConditions(r, n.conditions)
	}
	for i := range raw.nodes {
		unsupportedConditions(r, raw.nodes[i].conditions)
		for _, link := range raw.nodes[i].links.value {
			unsupportedConditions(r, link.conditions)
		}
	}
	return r.sorted()
}

func unsupportedConditions(r *report, c rawConditions) {
	if c.given && !c.over(Conditions{}).IsZero() {
		r.addf(c.at, "remove it to start the lab with perfect links", "impairments are not supported yet")
	}
}
