package topology

import (
	"math"
	"strings"
)

// plan computes the topology that a lab is built from. It works on what is usable of a file with problems, so that
// problems of the plan come out together with the others.
func plan(r *report, raw *rawTopology, folder sourceFolder) *Topology {
	t := &Topology{Dir: folder.dir, Metadata: planMetadata(raw), nodesAt: raw.nodesAt}
	if raw.tooLarge {
		return t
	}
	t.Seed = raw.seed.value
	t.Networks = planNetworks(raw)
	for i := range raw.nodes {
		t.Nodes = append(t.Nodes, planNode(&raw.nodes[i], folder)...)
	}
	planLinks(r, raw, t)
	planRoutes(t)
	if len(r.problems) == 0 {
		checkForwards(r, raw, t)
	}
	t.Digest = digest(t)
	return t
}

func planMetadata(raw *rawTopology) Metadata {
	return Metadata{
		Name: raw.name.value, Description: raw.description.value, Version: raw.version.value, Tags: values(raw.tags),
	}
}

func planNetworks(raw *rawTopology) []Network {
	var networks []Network
	for i := range raw.networks.value {
		n := &raw.networks.value[i]
		network := Network{
			Name: n.name.value, Subnet: n.subnet.value, Internet: n.internet.value, MTU: int(n.mtu.value),
			Capture:    raw.isCaptured(n),
			Conditions: on(n).conditions(),
		}
		if n.subnet.usable() {
			network.Gateway, network.Control = gatewayOf(n.subnet.value), controlOf(n.subnet.value)
		}
		networks = append(networks, network)
	}
	return networks
}

// planNode returns one node for each machine, still without links.
func planNode(raw *rawNode, folder sourceFolder) []Node {
	var nodes []Node
	for _, name := range raw.names() {
		nodes = append(nodes, Node{
			Name: name, Base: raw.name.value, Image: raw.image.value.resolved(folder.dir),
			MemoryMB: roundUp(raw.memoryMB.value), VCPUs: roundUp(raw.vcpus.value),
			DiskMB: int64(roundUp(raw.diskGB.value * 1024)),
			Env:    textMap(raw.env), Metadata: textMap(raw.metadata),
			Packages:  mergePackages(raw.packages, raw.cloudInit.packages),
			CloudInit: planCloudInit(&raw.cloudInit),
			Deploy:    planDeploys(raw.deploys, folder),
			Ports:     values(raw.ports),
			at:        raw.name.at, imageAt: raw.image.at, imageWritten: raw.image.value.written,
		})
	}
	return nodes
}

// planLinks gives out addresses and MAC addresses: first the addresses that the file gives, then those of the routers on
// their insides, then those of the nodes in the order of the file, then those of the routers on their outsides.
func planLinks(r *report, raw *rawTopology, t *Topology) {
	subnets := planSubnets(raw)
	t.Routers = planRouters(r, raw, subnets)
	macs := newMACPlan(t.Metadata.Name)
	next := 0
	for i := range raw.nodes {
		for range raw.nodes[i].names() {
			t.Nodes[next].Links = planNodeLinks(r, raw, i, t.Nodes[next].Name, subnets, macs)
			next++
		}
	}
	planOutsides(raw, t.Routers, subnets, macs)
	for i := range raw.networks.value {
		if n := &raw.networks.value[i]; subnets[strings.ToLower(n.name.value)] != nil {
			subnets[strings.ToLower(n.name.value)].shortage(r, n.subnet.at)
		}
	}
}

// planSubnets returns the subnets by the networks' names in lower case, with the addresses taken that the file gives.
func planSubnets(raw *rawTopology) map[string]*subnetPlan {
	subnets := map[string]*subnetPlan{}
	for i := range raw.networks.value {
		if n := &raw.networks.value[i]; n.subnet.usable() && n.name.usable() {
			subnets[strings.ToLower(n.name.value)] = newSubnetPlan(n.subnet.value)
		}
	}
	for _, given := range raw.addresses() {
		if subnet := subnets[strings.ToLower(given.network.value)]; subnet != nil && given.ip.usable() {
			subnet.taken[given.ip.value] = true
		}
	}
	return subnets
}

func planNodeLinks(r *report, raw *rawTopology, index int, name string, subnets map[string]*subnetPlan, macs *macPlan) []Link {
	var links []Link
	node := &raw.nodes[index]
	for nic := range node.links.value {
		rawLink := &node.links.value[nic]
		network := findNetwork(raw.networks.value, rawLink.network.value)
		subnet := subnets[strings.ToLower(rawLink.network.value)]
		if network == nil || subnet == nil {
			continue
		}
		addr := rawLink.ip.value
		if !rawLink.ip.given {
			addr, _ = subnet.take()
		}
		links = append(links, Link{
			Network:    network.name.value,
			Addr:       prefixOf(addr, subnet.subnet),
			MAC:        macs.take(name, nic),
			Conditions: on(network, &node.conditions, &rawLink.conditions).plan(r),
		})
	}
	return links
}

func roundUp(v float64) int { return int(math.Ceil(v)) }

// values returns what fields hold.
func values[T any](fields []field[T]) []T {
	var values []T
	for _, f := range fields {
		values = append(values, f.value)
	}
	return values
}

func textMap(fields map[string]field[string]) map[string]string {
	texts := make(map[string]string, len(fields))
	for key, f := range fields {
		texts[key] = f.value
	}
	return texts
}
