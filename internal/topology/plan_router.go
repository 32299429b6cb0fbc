package topology

import (
	"strings"
	"time"
)

// planRouters returns the routers, with the addresses that the file gives and those inside. Inside addresses come before
// those of nodes, so that the default route of a site is the second usable address wherever the file does not take it.
func planRouters(r *report, raw *rawTopology, subnets map[string]*subnetPlan) []Router {
	var routers []Router
	for i := range raw.routers {
		router := &raw.routers[i]
		routers = append(routers, Router{
			Name: router.name.value, NAT: router.nat.plan(), Firewall: Firewall(router.firewall.value),
			Inside: planInterface(r, raw, router, &router.inside), Outside: planInterface(r, raw, router, &router.outside),
		})
		subnet := subnets[strings.ToLower(router.inside.network.value)]
		if addr := router.inside.ip.value; subnet != nil {
			if !router.inside.ip.given {
				addr, _ = subnet.takeLow()
			}
			routers[i].Inside.Addr = prefixOf(addr, subnet.subnet)
		}
	}
	return routers
}

func planInterface(r *report, raw *rawTopology, router *rawRouter, port *rawInterface) Interface {
	network := findNetwork(raw.networks.value, port.network.value)
	if network == nil {
		return Interface{Network: port.network.value}
	}
	return Interface{
		Network:    network.name.value,
		Conditions: on(network, &router.conditions, &port.conditions).plan(r),
	}
}

// planOutsides gives the routers their remaining addresses. They come after all nodes, so that a router more does not
// move the address of any node.
func planOutsides(raw *rawTopology, routers []Router, subnets map[string]*subnetPlan, macs *macPlan) {
	for i := range routers {
		router := &raw.routers[i]
		if subnet := subnets[strings.ToLower(router.outside.network.value)]; subnet != nil {
			addr := router.outside.ip.value
			if !router.outside.ip.given {
				addr, _ = subnet.take()
			}
			routers[i].Outside.Addr = prefixOf(addr, subnet.subnet)
		}
		routers[i].Inside.MAC = macs.take(routers[i].Name, 0)
		routers[i].Outside.MAC = macs.take(routers[i].Name, 1)
	}
}

// plan returns the NAT that is left when the single values speak after the type.
func (nat *rawNAT) plan() NAT {
	if !nat.given {
		return NAT{}
	}
	plan := nat.kind.value
	if !nat.kind.given {
		plan = NAT{Ports: PreservePorts, Hairpin: true, UDPTimeout: DefaultUDPTimeout, TCPTimeout: DefaultTCPTimeout}
	}
	if nat.mapping.usable() {
		plan.Mapping = Behaviour(nat.mapping.value)
	}
	if nat.filtering.usable() {
		plan.Filtering = Behaviour(nat.filtering.value)
	}
	if nat.ports.usable() {
		plan.Ports = PortChoice(nat.ports.value)
	}
	if nat.hairpin.usable() {
		plan.Hairpin = nat.hairpin.value
	}
	if nat.udpTimeout.usable() {
		plan.UDPTimeout = seconds(nat.udpTimeout.value)
	}
	if nat.tcpTimeout.usable() {
		plan.TCPTimeout = seconds(nat.tcpTimeout.value)
	}
	plan.Forwards = values(nat.forwards)
	return plan
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
