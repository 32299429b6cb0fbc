package topology

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
)

// applyDefaults fills in what the file leaves out. It reports nothing.
func applyDefaults(raw *rawTopology, file string) {
	raw.name.orDefault(nameOfFile(file))
	if !raw.networks.given && !raw.networks.bad {
		raw.networks.value = []rawNetwork{defaultNetwork(raw.nodesAt)}
	}
	for i := range raw.networks.value {
		raw.networks.value[i].mtu.orDefault(DefaultMTU)
	}
	for i := range raw.routers {
		raw.routers[i].firewall.orDefault(string(FirewallNone))
	}
	for i := range raw.nodes {
		defaultNode(&raw.nodes[i], raw.networks)
	}
}

// defaultNetwork is what nodes share when the file names no network.
func defaultNetwork(at mark) rawNetwork {
	return rawNetwork{
		at:     at,
		name:   field[string]{value: DefaultNetwork, at: at, given: true},
		subnet: field[netip.Prefix]{value: netip.MustParsePrefix(DefaultSubnet), at: at, given: true},
	}
}

func defaultNode(n *rawNode, networks field[[]rawNetwork]) {
	n.image.orDefault(image{written: DefaultImage})
	n.memoryMB.orDefault(DefaultMemoryMB)
	n.vcpus.orDefault(DefaultVCPUs)
	n.diskGB.orDefault(DefaultDiskGB)
	n.cloudInit.user.orDefault(DefaultUser)
	for i := range n.deploys {
		n.deploys[i].mode.orDefault(defaultDeployMode)
		n.deploys[i].owner.orDefault("root")
	}
	if !n.links.given && !n.links.bad && len(networks.value) == 1 && !networks.bad {
		n.links.value = []rawLink{{at: n.at, network: networks.value[0].name}}
	}
}

var notInLabel = regexp.MustCompile(`[^A-Za-z0-9]+`)

// nameOfFile makes a DNS label of the name of a file.
func nameOfFile(file string) string {
	base := filepath.Base(file)
	label := notInLabel.ReplaceAllString(strings.TrimSuffix(base, filepath.Ext(base)), "-")
	if label = strings.Trim(label[:min(len(label), maxLabel)], "-"); label == "" {
		return "topology"
	}
	return label
}
