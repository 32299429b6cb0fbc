package topology

import "net/netip"

// rawNode is an entry of nodes as the file has it.
type rawNode struct {
	at                      mark
	name                    field[string]
	image                   field[image]
	memoryMB, vcpus, diskGB field[float64]
	count                   field[float64]
	env, metadata           map[string]field[string]
	packages                []field[string]
	cloudInit               rawCloudInit
	deploys                 []rawDeploy
	ports                   []field[Port]
	links                   field[[]rawLink]
	conditions              rawConditions
}

// rawLink is an entry of a node's networks.
type rawLink struct {
	at         mark
	network    field[string]
	ip         field[netip.Addr]
	conditions rawConditions
}

var nodeKeys = keySet{
	what: "a node",
	known: []string{
		"name", "image", "memory_mb", "vcpus", "disk_gb", "networks", "env", "packages", "cloud_init",
		"deploy", "ports", "network_conditions", "count", "metadata",
	},
	refused: map[string]string{
		"volumes":         "write deploy: [{src: ..., dest: ...}], which copies the files in",
		"role":            "write metadata: {role: ...}",
		"services":        "write ports: [\"8080:80\"] to reach it from the host; nodes reach each other by name",
		"comment":         "write a YAML comment: # ...",
		"notes":           "write a YAML comment: # ...",
		"network":         "write networks: [lan], or networks: [{name: lan, ip: 10.20.0.5}]",
		"ip":              "write networks: [{name: lan, ip: 10.20.0.5}]",
		"expected_ip":     "write networks: [{name: lan, ip: 10.20.0.5}]",
		"conditions":      "write network_conditions",
		"latency_ms":      "write network_conditions: {latency_ms: ...}",
		"jitter_ms":       "write network_conditions: {jitter_ms: ...}",
		"bandwidth_kbps":  "write network_conditions: {bandwidth_kbps: ...}",
		"preset":          "write network_conditions: {preset: ...}",
		"memory":          "write memory_mb: 2048",
		"memory_limit_mb": "write memory_mb",
		"cpus":            "write vcpus: 2",
		"cpu_limit":       "write vcpus",
		"disk":            "write disk_gb: 20",
		"user":            "write cloud_init: {user: ...}",
		"command":         "write cloud_init: {runcmd: [...]}",
		"runcmd":          "write cloud_init: {runcmd: [...]}",
		"docker_args":     "remove it: nodes are machines, not containers",
		"platform":        "remove it, and name an image of that architecture",
		"type":            "remove it: every node is a virtual machine",

		"nat":        "write routers: [{name: ..., inside: ..., outside: ..., nat: ...}], and put the node on the inside network",
		"nat_type":   "write routers: [{name: ..., inside: ..., outside: ..., nat: ...}], and put the node on the inside network",
		"behind_nat": "write routers: [{name: ..., inside: ..., outside: ..., nat: ...}], and put the node on the inside network",
		"public_ip":  "write ip_outside in the router; a node with a public address is on the outside network",
		"gateway":    "remove it: routes are worked out from networks and routers",
		"routes":     "remove it: routes are worked out from networks and routers",
		"router":     "write routers: [{name: ..., inside: ..., outside: ...}]; a router is no node",
		"capture":    "write captures: [{network: ...}], or capture: true in a network",

		"packet_loss_percent": "write network_conditions: {packet_loss_percent: ...}",
	},
}

// nodeMetadataRefused lists what benchScale's files hide in a node's metadata although it asks for an effect.
var nodeMetadataRefused = map[string]string{
	"cpu_limit":       "write vcpus in the node",
	"memory_limit_mb": "write memory_mb in the node",
	"docker_args":     "remove it: nodes are machines, not containers",
	"platform":        "remove it, and name an image of that architecture",
}

var linkKeys = keySet{
	what:  "a node's network",
	known: []string{"name", "ip", "conditions"},
	refused: map[string]string{
		"expected_ip":        "write ip",
		"address":            "write ip",
		"network":            "write name",
		"network_conditions": "write conditions",
		"discovery":          "remove it: nodes find each other by name",
		"mac":                "remove it: each link has a fixed MAC address of its own",
		"preset":             "write conditions: {preset: ...}",
		"latency_ms":         "write conditions: {latency_ms: ...}",
	},
}

func parseNodes(r *report, v value) []rawNode {
	entries := r.list(v, "write nodes: [{name: alice}]")
	if entries.usable() && len(entries.value) == 0 {
		r.addf(v.at, "write nodes: [{name: alice}]", "the list has no entries")
	}
	var nodes []rawNode
	for _, entry := range entries.value {
		nodes = append(nodes, parseNode(r, entry))
	}
	return nodes
}

func parseNode(r *report, v value) rawNode {
	m := r.mapping(v, nodeKeys)
	return rawNode{
		at:         v.at,
		name:       r.str(m.need(r, "name", "name: alice")),
		image:      convert(r, r.str(m.get("image")), parseImage),
		memoryMB:   r.number(m.get("memory_mb"), "MiB"),
		vcpus:      r.number(m.get("vcpus"), "processors"),
		diskGB:     r.number(m.get("disk_gb"), "GiB"),
		count:      r.number(m.get("count"), "machines"),
		env:        parseEnv(r, m.get("env")),
		packages:   r.texts(m.get("packages"), "write packages: [curl, git]"),
		cloudInit:  parseCloudInit(r, m.get("cloud_init")),
		deploys:    parseDeploys(r, m.get("deploy")),
		ports:      parsePorts(r, m.get("ports")),
		links:      parseLinks(r, m.get("networks")),
		conditions: parseConditions(r, m.get("network_conditions")),
		metadata:   parseNodeMetadata(r, m.get("metadata")),
	}
}

func parseEnv(r *report, v value) map[string]field[string] {
	m := r.freeMapping(v, "write env: {NAME: value}")
	env := map[string]field[string]{}
	for _, name := range sortedKeys(m.entries) {
		if !envName.MatchString(name) {
			r.addf(m.entries[name].keyAt, "use letters, digits and _, not beginning with a digit",
				"%s is not a name of a variable", quote(name))
			continue
		}
		env[name] = r.text(m.entries[name])
	}
	return env
}

func parseNodeMetadata(r *report, v value) map[string]field[string] {
	m := r.freeMapping(v, "write metadata: {role: server}")
	metadata := map[string]field[string]{}
	for _, key := range sortedKeys(m.entries) {
		if right, refused := nodeMetadataRefused[key]; refused {
			r.addf(m.entries[key].keyAt, right, "%s has no effect in metadata", quote(key))
			continue
		}
		metadata[key] = r.text(m.entries[key])
	}
	return metadata
}

func parseLinks(r *report, v value) field[[]rawLink] {
	const right = "write networks: [lan], or networks: [{name: lan, ip: 10.20.0.5}]"
	entries := r.list(v, right)
	links := field[[]rawLink]{at: v.at, given: entries.given, bad: entries.bad}
	for _, entry := range entries.value {
		if entry.node != nil && isScalar(entry.node) {
			links.value = append(links.value, rawLink{at: entry.at, network: r.str(entry)})
			continue
		}
		m := r.mapping(entry, linkKeys)
		links.value = append(links.value, rawLink{
			at:         entry.at,
			network:    r.str(m.need(r, "name", "name: lan")),
			ip:         convert(r, r.str(m.get("ip")), parseIP),
			conditions: parseConditions(r, m.get("conditions")),
		})
	}
	return links
}

// parseIP reads a node's address.
func parseIP(text string) (netip.Addr, *complaint) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return netip.Addr{}, &complaint{quote(text) + " has a prefix length", "write " + prefix.Addr().String()}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addr, &complaint{quote(text) + " is not an IP address", "write one such as 10.20.0.5"}
	}
	if !addr.Is4() {
		return addr, &complaint{"IPv6 addresses are not supported yet", "write an IPv4 address of the network's subnet"}
	}
	return addr, nil
}
