package fabric

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	leaseTime = 7 * 24 * time.Hour // Longer than any lab: a lease ends with its machine.
	domain    = "lab"
)

// leases answers the DHCP questions of one network (RFC 2131). Each MAC of the topology has its address for good; a MAC
// that is not in it gets no answer. It holds no state, so a restored guest finds the same.
type leases struct {
	network NetworkConfig
	hosts   map[mac]Host
}

func newLeases(n NetworkConfig) *leases {
	l := &leases{network: n, hosts: make(map[mac]Host, len(n.Hosts))}
	for _, h := range n.Hosts {
		l.hosts[macOf(h.MAC)] = h
	}
	return l
}

// dhcpAnswer is a message and where it goes.
type dhcpAnswer struct {
	payload []byte
	to      netip.Addr
}

// answer makes the answer to a message, or none where none is due.
func (l *leases) answer(message []byte) *dhcpAnswer {
	req, err := dhcpv4.FromBytes(message)
	if err != nil || req.OpCode != dhcpv4.OpcodeBootRequest || len(req.ClientHWAddr) != 6 || !isUnset(req.GatewayIPAddr) {
		return nil
	}
	host, ok := l.hosts[macOf(req.ClientHWAddr)]
	if !ok || !l.addressed(req) {
		return nil
	}
	kind := l.kind(req, host)
	if kind == dhcpv4.MessageTypeNone {
		return nil
	}
	reply, err := dhcpv4.NewReplyFromRequest(req, l.options(kind, req, host)...)
	if err != nil {
		return nil
	}
	return &dhcpAnswer{payload: reply.ToBytes(), to: destination(kind, req, host)}
}

// addressed reports whether the client has not chosen another server.
func (l *leases) addressed(req *dhcpv4.DHCPv4) bool {
	id := req.ServerIdentifier()
	return id == nil || isAddr(id, l.network.Gateway)
}

// kind is the type of the answer, or none.
func (l *leases) kind(req *dhcpv4.DHCPv4, host Host) dhcpv4.MessageType {
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeInform:
		return dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeRequest:
		wanted := req.RequestedIPAddress()
		if isUnset(wanted) {
			wanted = req.ClientIPAddr
		}
		if isAddr(wanted, host.Addr) {
			return dhcpv4.MessageTypeAck
		}
		return dhcpv4.MessageTypeNak
	}
	return dhcpv4.MessageTypeNone
}

func (l *leases) options(kind dhcpv4.MessageType, req *dhcpv4.DHCPv4, host Host) []dhcpv4.Modifier {
	gateway := net.IP(l.network.Gateway.AsSlice())
	router := gateway
	if l.network.router.IsValid() {
		router = net.IP(l.network.router.AsSlice())
	}
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gateway)),
	}
	if kind == dhcpv4.MessageTypeNak {
		return mods
	}
	mods = append(mods,
		dhcpv4.WithServerIP(gateway),
		dhcpv4.WithNetmask(net.CIDRMask(l.network.Subnet.Bits(), 32)),
		dhcpv4.WithOption(dhcpv4.OptBroadcastAddress(lastAddr(l.network.Subnet).AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptRouter(router)),
		dhcpv4.WithOption(dhcpv4.OptDNS(gateway)),
		dhcpv4.WithOption(dhcpv4.OptDomainName(domain)),
		dhcpv4.WithDomainSearchList(domain),
		dhcpv4.WithOption(dhcpv4.OptHostName(host.Node)),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(l.network.MTU))),
	)
	if req.MessageType() == dhcpv4.MessageTypeInform {
		return append(mods, dhcpv4.WithClientIP(req.ClientIPAddr)) // RFC 2131, 4.3.5: no lease, no address.
	}
	return append(mods,
		dhcpv4.WithYourIP(host.Addr.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(leaseTime)),
	)
}

// destination is where the answer goes (RFC 2131, 4.1).
func destination(kind dhcpv4.MessageType, req *dhcpv4.DHCPv4, host Host) netip.Addr {
	switch client, _ := netip.AddrFromSlice(req.ClientIPAddr.To4()); {
	case kind == dhcpv4.MessageTypeNak:
		return everyone()
	case client.IsValid() && !client.IsUnspecified():
		return client
	case req.IsBroadcast():
		return everyone()
	}
	return host.Addr
}

// everyone is the limited broadcast address.
func everyone() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

func isUnset(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }

func isAddr(ip net.IP, a netip.Addr) bool {
	other, ok := netip.AddrFromSlice(ip)
	return ok && other.Unmap() == a
}
