package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const forwardForm = `write protocol:port:address:port, such as "tcp:8022:192.168.10.5:22": port 8022 outside leads to port 22 inside`

// parseForward reads protocol:port:address:port.
func parseForward(text string) (Forward, *complaint) {
	parts := strings.Split(text, ":")
	if len(parts) != 4 {
		return Forward{}, &complaint{quote(text) + " is not a port forward of a router", forwardForm}
	}
	if parts[0] != "tcp" && parts[0] != "udp" {
		return Forward{}, &complaint{quote(parts[0]) + " is not a protocol of a port", "begin with tcp: or udp:"}
	}
	addr, c := parseIP(parts[2])
	if c != nil {
		return Forward{}, c
	}
	outside, outsideErr := strconv.ParseUint(parts[1], 10, 16)
	inside, insideErr := strconv.ParseUint(parts[3], 10, 16)
	if outsideErr != nil || insideErr != nil || outside == 0 || inside == 0 {
		return Forward{}, &complaint{quote(text) + " is not a port forward of a router", forwardForm + "; ports are 1 to 65535"}
	}
	return Forward{Protocol: parts[0], Port: uint16(outside), To: netip.AddrPortFrom(addr, uint16(inside))}, nil
}

// validateForwards looks for ports that are forwarded twice, for targets with two ports, which would leave open from which
// of them they answer, and for targets that are not behind the router.
func validateForwards(r *report, router *rawRouter, behind []netip.Prefix) {
	ports, targets := map[string]int{}, map[string]int{}
	for i := range router.nat.forwards {
		forward := &router.nat.forwards[i]
		check(r, forward, func(f Forward) *complaint {
			port, target := f.Protocol+" port "+strconv.Itoa(int(f.Port)), f.Protocol+" to "+f.To.String()
			if line, taken := ports[port]; taken {
				return &complaint{port + " is forwarded by line " + strconv.Itoa(line), "use another port outside"}
			}
			if line, taken := targets[target]; taken {
				return &complaint{target + " is forwarded by line " + strconv.Itoa(line) + " already", "keep one of them"}
			}
			ports[port], targets[target] = forward.at.line, forward.at.line
			return nil
		})
		check(r, forward, func(f Forward) *complaint { return isBehind(f.To.Addr(), behind) })
	}
}

// isBehind complains of an address that no machine behind the router may have. Where nothing is known to be behind it,
// that is another problem's.
func isBehind(addr netip.Addr, behind []netip.Prefix) *complaint {
	if len(behind) == 0 {
		return nil
	}
	i := slices.IndexFunc(behind, func(subnet netip.Prefix) bool { return subnet.Contains(addr) })
	if i < 0 {
		return &complaint{
			fmt.Sprintf("%s is not behind the router", addr), fmt.Sprintf("use an address of a node on the inside, %s", behind[0]),
		}
	}
	return addressable(behind[i], addr)
}

// checkForwards looks for targets that no node and no router has. It needs the addresses that the plan gives out.
func checkForwards(r *report, raw *rawTopology, t *Topology) {
	owners := map[netip.Addr]bool{}
	for _, node := range t.Nodes {
		for _, link := range node.Links {
			owners[link.Addr.Addr()] = true
		}
	}
	for _, router := range t.Routers {
		owners[router.Inside.Addr.Addr()], owners[router.Outside.Addr.Addr()] = true, true
	}
	for i := range raw.routers {
		for j := range raw.routers[i].nat.forwards {
			check(r, &raw.routers[i].nat.forwards[j], func(f Forward) *complaint {
				if owners[f.To.Addr()] {
					return nil
				}
				return &complaint{
					fmt.Sprintf("no node and no router has the address %s", f.To.Addr()),
					"give it to a node with networks: [{name: ..., ip: " + f.To.Addr().String() + "}]",
				}
			})
		}
	}
}
