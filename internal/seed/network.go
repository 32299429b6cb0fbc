package seed

import (
	"fmt"
	"net/netip"
	"strings"
)

// network is cloud-init's network configuration, version 2.
type network struct {
	Version   int                 `yaml:"version"`
	Ethernets map[string]ethernet `yaml:"ethernets"`
}

type ethernet struct {
	Match       match        `yaml:"match"`
	SetName     string       `yaml:"set-name,omitempty"`
	DHCP4       bool         `yaml:"dhcp4"`
	DHCP6       bool         `yaml:"dhcp6"`
	AcceptRA    bool         `yaml:"accept-ra"`
	LinkLocal   []string     `yaml:"link-local,flow"`
	Optional    bool         `yaml:"optional,omitempty"`
	MTU         int          `yaml:"mtu,omitempty"`
	Addresses   []string     `yaml:"addresses,omitempty"`
	Routes      []route      `yaml:"routes,omitempty"`
	Nameservers *nameservers `yaml:"nameservers,omitempty"`
}

type match struct {
	MAC string `yaml:"macaddress"`
}

type route struct {
	To  string `yaml:"to"`
	Via string `yaml:"via"`
}

type nameservers struct {
	Addresses []string `yaml:"addresses,omitempty,flow"`
	Search    []string `yaml:"search,omitempty,flow"`
}

// networkConfig plans the ports. Only the first one that has an address is waited for at boot: a port that may stay
// without carrier would stall systemd-networkd-wait-online for two minutes, and so would a machine all of whose ports
// are optional, because that program then never sees one come up.
func networkConfig(interfaces []Interface) network {
	out := network{Version: 2, Ethernets: map[string]ethernet{}}
	var routed, awaited addressFamilies
	for i, nic := range interfaces {
		port := ethernet{
			Match:     match{MAC: strings.ToLower(nic.MAC)},
			SetName:   nic.Name,
			LinkLocal: []string{"ipv6"},
			Optional:  awaited.any() || len(nic.Addrs) == 0,
			MTU:       nic.MTU,
		}
		for _, addr := range nic.Addrs {
			awaited.add(addr.Addr())
			port.Addresses = append(port.Addresses, addr.String())
		}
		if nic.Gateway.IsValid() && routed.add(nic.Gateway) {
			port.Routes = []route{{To: defaultRoute(nic.Gateway), Via: nic.Gateway.String()}}
		}
		for _, static := range nic.Routes {
			port.Routes = append(port.Routes, route{To: static.To.String(), Via: static.Via.String()})
		}
		if len(nic.DNS) > 0 || len(nic.Search) > 0 {
			port.Nameservers = &nameservers{Search: nic.Search}
			for _, server := range nic.DNS {
				port.Nameservers.Addresses = append(port.Nameservers.Addresses, server.String())
			}
		}
		out.Ethernets[portID(i, nic)] = port
	}
	return out
}

// portID returns the key of a port. Renderers other than netplan's take it for the port's name.
func portID(index int, nic Interface) string {
	if nic.Name != "" {
		return nic.Name
	}
	return fmt.Sprintf("nic%02d", index)
}

// defaultRoute spells the route in full because cloud-init's older renderers do not know the word default.
func defaultRoute(gateway netip.Addr) string {
	if gateway.Is4() {
		return "0.0.0.0/0"
	}
	return "::/0"
}

// addressFamilies remembers which of IPv4 and IPv6 it has seen.
type addressFamilies struct{ v4, v6 bool }

// add reports whether addr is the first of its family.
func (f *addressFamilies) add(addr netip.Addr) bool {
	seen := &f.v6
	if addr.Is4() {
		seen = &f.v4
	}
	if *seen {
		return false
	}
	*seen = true
	return true
}

func (f addressFamilies) any() bool { return f.v4 || f.v6 }
