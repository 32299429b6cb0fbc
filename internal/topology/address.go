package topology

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// subnetPlan gives out the addresses of one network, always the same ones for the same topology.
type subnetPlan struct {
	subnet netip.Prefix
	taken  map[netip.Addr]bool
	next   int
	// missing counts requests that could not be met.
	missing int
}

// firstHost is the offset of the first address that is given out where the subnet is large enough, so that the low
// addresses stay free for those that authors choose.
const firstHost = 10

func newSubnetPlan(subnet netip.Prefix) *subnetPlan {
	return &subnetPlan{subnet: subnet, taken: map[netip.Addr]bool{gatewayOf(subnet): true, controlOf(subnet): true}}
}

func size(subnet netip.Prefix) int { return 1 << (32 - subnet.Bits()) }

// addressAt returns the address at an offset in the subnet.
func addressAt(subnet netip.Prefix, offset int) netip.Addr {
	base := subnet.Addr().As4()
	var addr [4]byte
	binary.BigEndian.PutUint32(addr[:], binary.BigEndian.Uint32(base[:])+uint32(offset))
	return netip.AddrFrom4(addr)
}

func gatewayOf(subnet netip.Prefix) netip.Addr   { return addressAt(subnet, 1) }
func controlOf(subnet netip.Prefix) netip.Addr   { return addressAt(subnet, size(subnet)-2) }
func broadcastOf(subnet netip.Prefix) netip.Addr { return addressAt(subnet, size(subnet)-1) }

// addressable complains of addresses that no node of the subnet may have.
func addressable(subnet netip.Prefix, addr netip.Addr) *complaint {
	right := fmt.Sprintf("use one of %s to %s", addressAt(subnet, 2), addressAt(subnet, size(subnet)-3))
	switch addr {
	case subnet.Addr():
		return &complaint{addr.String() + " is the address of the network itself", right}
	case broadcastOf(subnet):
		return &complaint{addr.String() + " is the broadcast address of the network", right}
	case gatewayOf(subnet):
		return &complaint{addr.String() + " is reserved for the gateway", right}
	case controlOf(subnet):
		return &complaint{addr.String() + " is reserved for the lab's control address", right}
	}
	if !subnet.Contains(addr) {
		return &complaint{fmt.Sprintf("%s is not in the subnet %s", addr, subnet), right}
	}
	return nil
}

// start returns the offset of the first address to give out.
func (p *subnetPlan) start() int {
	if size(p.subnet) <= 16 {
		return 2
	}
	return firstHost
}

// takeLow returns the first free address from the second usable one upwards.
func (p *subnetPlan) takeLow() (netip.Addr, bool) {
	for offset := 2; offset < size(p.subnet)-2; offset++ {
		if addr := addressAt(p.subnet, offset); !p.taken[addr] {
			p.taken[addr] = true
			return addr, true
		}
	}
	p.missing++
	return netip.Addr{}, false
}

// take returns the next free address. When the subnet is used up, it returns false and remembers the shortage.
func (p *subnetPlan) take() (netip.Addr, bool) {
	hosts := size(p.subnet) - 4
	for ; p.next < hosts; p.next++ {
		// Offsets run from start to the end and then from 2 to start.
		offset := 2 + (p.start()-2+p.next)%hosts
		if addr := addressAt(p.subnet, offset); !p.taken[addr] {
			p.taken[addr] = true
			return addr, true
		}
	}
	p.missing++
	return netip.Addr{}, false
}

// shortage reports a subnet that was too small.
func (p *subnetPlan) shortage(r *report, at mark) {
	if p.missing == 0 {
		return
	}
	hosts := size(p.subnet) - 4
	bits := p.subnet.Bits()
	for bits > 8 && 1<<(32-bits)-4 < hosts+p.missing {
		bits--
	}
	r.addf(at, fmt.Sprintf("use a prefix of /%d or shorter", bits),
		"%s has %d addresses for nodes and routers, and %d are on it", p.subnet, hosts, hosts+p.missing)
}

func prefixOf(addr netip.Addr, subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(addr, subnet.Bits())
}
