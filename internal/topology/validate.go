package topology

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds of single values. The upper ones only catch slips of the finger.
const (
	minMemoryMB = 128
	maxMemoryMB = 16 << 20
	maxVCPUs    = 64
	minDiskGB   = 1
	maxDiskGB   = 64 << 10
	minMTU      = 576
	maxMTU      = 9000
	maxLinks    = 16
)

// validate looks for values out of range and for contradictions between values.
func validate(r *report, raw *rawTopology) {
	validateNames(r, raw)
	validateNetworks(r, raw.networks.value)
	for i := range raw.nodes {
		validateNode(r, &raw.nodes[i])
		validateLinks(r, &raw.nodes[i], raw.networks)
	}
	validatePorts(r, raw.nodes)
	validateAddresses(r, raw)
	validateRouters(r, raw)
	validateCaptures(r, raw)
}

func validateNetworks(r *report, networks []rawNetwork) {
	for i := range networks {
		n := &networks[i]
		check(r, &n.mtu, func(mtu float64) *complaint {
			if mtu != float64(int(mtu)) || mtu < minMTU || mtu > maxMTU {
				return &complaint{
					formatNumber(mtu) + " is not an MTU", fmt.Sprintf("use a whole number, %d to %d bytes", minMTU, maxMTU),
				}
			}
			return nil
		})
		validateConditions(r, &n.conditions)
		validateOverlap(r, n, networks[:i])
	}
}

// validateOverlap looks for an earlier network with some of the same addresses.
func validateOverlap(r *report, n *rawNetwork, earlier []rawNetwork) {
	for i := range earlier {
		if !n.subnet.usable() || !earlier[i].subnet.usable() || !n.subnet.value.Overlaps(earlier[i].subnet.value) {
			continue
		}
		r.reject(&n.subnet, complaint{
			fmt.Sprintf("%s overlaps with %s of line %d", n.subnet.value, earlier[i].subnet.value, earlier[i].subnet.at.line),
			"give each network addresses of its own",
		})
	}
}

func validateNode(r *report, n *rawNode) {
	check(r, &n.memoryMB, between("memory_mb", minMemoryMB, maxMemoryMB, "MiB"))
	check(r, &n.diskGB, between("disk_gb", minDiskGB, maxDiskGB, "GiB"))
	// Less than one processor is rounded up to one; none at all is a mistake.
	check(r, &n.vcpus, func(v float64) *complaint {
		return between("vcpus", 1, maxVCPUs, "processors")(math.Ceil(v))
	})
	validateEnv(r, n.env)
	validatePackages(r, n)
	validateCloudInit(r, &n.cloudInit)
	validateDeploys(r, n.deploys)
	validateConditions(r, &n.conditions)
}

func between(name string, least, most float64, unit string) func(float64) *complaint {
	return func(v float64) *complaint {
		if v >= least && v <= most {
			return nil
		}
		return &complaint{
			formatNumber(v) + " is out of range",
			fmt.Sprintf("%s is %s to %s %s", name, formatNumber(least), formatNumber(most), unit),
		}
	}
}

func validateEnv(r *report, env map[string]field[string]) {
	for _, name := range sortedKeys(env) {
		value := env[name]
		check(r, &value, func(text string) *complaint {
			if strings.ContainsAny(text, "\x00\n\r") {
				return &complaint{"the value has a line break or NUL in it", "write one line, or a file with write_files"}
			}
			return nil
		})
		env[name] = value
	}
}

func validateLinks(r *report, n *rawNode, networks field[[]rawNetwork]) {
	names := networkNames(networks)
	switch {
	case !n.links.given && !n.links.bad && !networks.bad && len(names) > 1:
		r.addf(n.at.key("networks"), "write networks: ["+names[0]+"], or list several of "+strings.Join(shortened(names), ", "),
			"the node does not say which of the %d networks it is on", len(networks.value))
	case n.links.usable() && len(n.links.value) == 0:
		r.addf(n.links.at, "list at least one; ionlab reaches a node through its networks", "the list has no entries")
	case len(n.links.value) > maxLinks:
		r.addf(n.links.at, fmt.Sprintf("use at most %d", maxLinks), "the node is on %d networks", len(n.links.value))
	}
	earlier := register{}
	for i := range n.links.value {
		link := &n.links.value[i]
		validateConditions(r, &link.conditions)
		check(r, &link.network, isOneOf("network", names, anyBadName(networks)))
		if link.network.usable() && n.links.given {
			earlier.claimOnce(r, link.network.value, link.network.at)
		}
	}
}

// claimOnce is claim for a node's list of networks.
func (n register) claimOnce(r *report, name string, at mark) {
	key := strings.ToLower(name)
	if first, taken := n[key]; taken {
		r.addf(at, "a node has one link to a network", "the network %s is listed in line %d already", quote(name), first.line)
		return
	}
	n[key] = at
}

func networkNames(networks field[[]rawNetwork]) []string {
	var names []string
	for _, n := range networks.value {
		if n.name.usable() {
			names = append(names, n.name.value)
		}
	}
	return names
}

// anyBadName tells whether the file has networks whose names are not known, so that a reference may be to one of them.
func anyBadName(networks field[[]rawNetwork]) bool {
	return networks.bad || slices.ContainsFunc(networks.value, func(n rawNetwork) bool { return !n.name.usable() })
}

// isOneOf returns a rule for references. Where not all names are known, every reference may be right.
func isOneOf(what string, names []string, lenient bool) func(string) *complaint {
	return func(name string) *complaint {
		if lenient || slices.ContainsFunc(names, func(known string) bool { return strings.EqualFold(known, name) }) {
			return nil
		}
		return &complaint{quote(name) + " is not a " + what + " of this topology", didYouMean(name, names)}
	}
}

// address is an address that the file gives to a node or a router.
type address struct {
	network *field[string]
	ip      *field[netip.Addr]
	// machines is how many are to have it.
	machines int
}

// addresses returns the places of all addresses of nodes and routers, given or not.
func (raw *rawTopology) addresses() []address {
	var all []address
	for i := range raw.nodes {
		n := &raw.nodes[i]
		for j := range n.links.value {
			all = append(all, address{&n.links.value[j].network, &n.links.value[j].ip, n.copies()})
		}
	}
	for i := range raw.routers {
		for _, port := range []*rawInterface{&raw.routers[i].inside, &raw.routers[i].outside} {
			all = append(all, address{&port.network, &port.ip, 1})
		}
	}
	slices.SortStableFunc(all, func(a, b address) int {
		return cmp.Or(cmp.Compare(a.ip.at.line, b.ip.at.line), cmp.Compare(a.ip.at.column, b.ip.at.column))
	})
	return all
}

// validateAddresses looks at the addresses that nodes and routers ask for.
func validateAddresses(r *report, raw *rawTopology) {
	taken := map[netip.Addr]int{}
	for _, given := range raw.addresses() {
		check(r, given.ip, func(netip.Addr) *complaint {
			if given.machines > 1 {
				return &complaint{"one address cannot serve all machines of a count", "remove ip: each machine gets an address"}
			}
			return nil
		})
		if network := findNetwork(raw.networks.value, given.network.value); network != nil && network.subnet.usable() {
			check(r, given.ip, func(addr netip.Addr) *complaint { return addressable(network.subnet.value, addr) })
		}
		check(r, given.ip, func(addr netip.Addr) *complaint {
			if line, is := taken[addr]; is {
				return &complaint{addr.String() + " is taken by line " + strconv.Itoa(line), "give each node and router an address of its own"}
			}
			taken[addr] = given.ip.at.line
			return nil
		})
	}
}

func findNetwork(networks []rawNetwork, name string) *rawNetwork {
	for i := range networks {
		if networks[i].name.usable() && strings.EqualFold(networks[i].name.value, name) {
			return &networks[i]
		}
	}
	return nil
}
