package fabric

import (
	"errors"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	// arpEvery and arpTries find a guest within a fraction of a second of its coming up, and give up after a second.
	arpEvery = 200 * time.Millisecond
	arpTries = 5

	tcpBufferMin     = 4 << 10
	tcpBufferDefault = 1 << 20
	tcpBufferMax     = 8 << 20
)

// newStack makes an IPv4 stack without interfaces, tuned for a path of microseconds and large copies.
func newStack() *stack.Stack {
	nud := stack.DefaultNUDConfigurations()
	nud.RetransmitTimer = arpEvery
	nud.MaxMulticastProbes = arpTries
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
		NUDConfigs:         nud,
	})
	sack := tcpip.TCPSACKEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	// This version's RACK sends again what was not lost, and its CUBIC counts the window in the wrong unit
	// (gvisor.dev/issue/9707, gvisor.dev/issue/11632): the classic algorithms do better.
	recovery := tcpip.TCPRecovery(0)
	congestion := tcpip.CongestionControlOption("reno")
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcpBufferMin, Default: tcpBufferDefault, Max: tcpBufferMax}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcpBufferMin, Default: tcpBufferDefault, Max: tcpBufferMax}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &recovery, &congestion, &send, &receive} {
		// The stack refuses an option only where it does not know it, and all of these it does: TestStackOptions.
		_ = s.SetTransportProtocolOption(tcp.ProtocolNumber, option)
	}
	return s
}

func addressOf(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: addressOf(a.Addr()), Port: a.Port()}
}

// stackError makes an error of gVisor's, which does not implement error.
func stackError(err tcpip.Error) error { return errors.New(err.String()) }
