package topology

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Port forwards a port of the host to a port of a node.
type Port struct {
	// Host is where the host listens, always on loopback; port 0 asks for a free one.
	Host netip.AddrPort
	// Guest is the node's port.
	Guest uint16
	// Protocol is tcp or udp.
	Protocol string
}

// String returns the port as a topology writes it.
func (p Port) String() string {
	return p.Host.String() + ":" + strconv.Itoa(int(p.Guest)) + "/" + p.Protocol
}

const portForm = `write host:guest, such as "127.0.0.1:8080:80", "8080:80", "0:80" for a free port, or "5353:53/udp"`

func parsePorts(r *report, v value) []field[Port] {
	var ports []field[Port]
	for _, entry := range r.list(v, "write a list of entries; "+portForm).value {
		ports = append(ports, convert(r, r.scalar(entry, portForm, "!!str"), parsePort))
	}
	return ports
}

// parsePort reads [address:]host:guest[/protocol].
func parsePort(text string) (Port, *complaint) {
	numbers, protocol, named := strings.Cut(text, "/")
	if !named {
		protocol = "tcp"
	}
	if protocol != "tcp" && protocol != "udp" {
		return Port{}, &complaint{quote(protocol) + " is not a protocol of a port", "write /tcp or /udp, or nothing for tcp"}
	}
	left, guestText, ok := cutLast(numbers, ":")
	if !ok {
		return Port{}, &complaint{quote(text) + " is not a port forward", portForm}
	}
	addrText, hostText, explicit := cutLast(left, ":")
	if !explicit {
		addrText, hostText = "127.0.0.1", left
	}
	addr, c := parseHostAddr(addrText)
	if c != nil {
		return Port{}, c
	}
	host, hostErr := strconv.ParseUint(hostText, 10, 16)
	guest, guestErr := strconv.ParseUint(guestText, 10, 16)
	if hostErr != nil || guestErr != nil || guest == 0 {
		return Port{}, &complaint{quote(text) + " is not a port forward", portForm + "; ports are 1 to 65535"}
	}
	return Port{Host: netip.AddrPortFrom(addr, uint16(host)), Guest: uint16(guest), Protocol: protocol}, nil
}

// parseHostAddr reads an address of the host; IPv6 stands in brackets.
func parseHostAddr(text string) (netip.Addr, *complaint) {
	if text == "localhost" {
		text = "127.0.0.1"
	}
	plain, bracketed := strings.CutPrefix(text, "[")
	if bracketed {
		plain = strings.TrimSuffix(plain, "]")
	}
	addr, err := netip.ParseAddr(plain)
	if err != nil || addr.Is6() != bracketed || addr.Is4In6() {
		return netip.Addr{}, &complaint{
			quote(text) + " is not an address of the host",
			"write an address such as 127.0.0.1 or [::1], or leave it out for loopback",
		}
	}
	if !addr.IsLoopback() {
		return netip.Addr{}, &complaint{
			"address " + text + " would let other hosts into the lab",
			"ports listen on loopback only: leave the address out, and forward from there yourself (ssh -L) where others need it",
		}
	}
	return addr, nil
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// clash tells whether both ports cannot listen at the same time.
func (p Port) clash(other Port) bool {
	if p.Host.Port() == 0 || p.Host.Port() != other.Host.Port() || p.Protocol != other.Protocol {
		return false
	}
	return p.Host.Addr() == other.Host.Addr()
}

// validatePorts looks for host ports that two nodes, or two machines of one node, would share.
func validatePorts(r *report, nodes []rawNode) {
	earlier := map[uint16][]field[Port]{}
	for i := range nodes {
		for j := range nodes[i].ports {
			port := &nodes[i].ports[j]
			if nodes[i].copies() > 1 {
				check(r, port, isFreePort)
			}
			number := port.value.Host.Port()
			if check(r, port, doesNotClash(earlier[number])); port.usable() {
				earlier[number] = append(earlier[number], *port)
			}
		}
	}
}

func isFreePort(port Port) *complaint {
	if port.Host.Port() == 0 {
		return nil
	}
	return &complaint{
		fmt.Sprintf("host port %d cannot serve all machines of a count", port.Host.Port()),
		"write host port 0, which gives each machine a free one",
	}
}

func doesNotClash(earlier []field[Port]) func(Port) *complaint {
	return func(port Port) *complaint {
		for _, other := range earlier {
			if port.clash(other.value) {
				return &complaint{
					fmt.Sprintf("host port %s/%s is taken by line %d", port.Host, port.Protocol, other.at.line),
					"use another host port, or 0 for a free one",
				}
			}
		}
		return nil
	}
}
