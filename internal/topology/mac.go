package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
)

// RustDesk takes the last four bytes of the MAC address, without the upper three bits, as its id, and its server
// refuses ids of fewer than six digits. Ids of nine digits are what its users know.
const (
	rustdeskMask  = 0x1fffffff
	rustdeskFirst = 100_000_000
)

// macPlan gives each link its MAC address: 52:54, which is unicast and locally administered, and four bytes that
// follow from the names of topology and node and the number of the NIC.
type macPlan struct {
	topology string
	// taken holds RustDesk ids; different ids make different addresses.
	taken map[uint32]bool
}

func newMACPlan(topology string) *macPlan {
	return &macPlan{topology: topology, taken: map[uint32]bool{}}
}

// take returns the address of a NIC. Where two would be alike, the later one in the topology gets another.
func (p *macPlan) take(node string, nic int) net.HardwareAddr {
	for attempt := 0; ; attempt++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d", p.topology, node, nic, attempt))
		tail := macTail(binary.BigEndian.Uint64(sum[:8]))
		if id := tail & rustdeskMask; !p.taken[id] {
			p.taken[id] = true
			return binary.BigEndian.AppendUint32(net.HardwareAddr{0x52, 0x54}, tail)
		}
	}
}

// macTail maps a hash to four bytes that hold an id of nine digits and three bits more.
func macTail(hash uint64) uint32 {
	id := rustdeskFirst + uint32(hash>>3%(rustdeskMask+1-rustdeskFirst))
	return uint32(hash&7)<<29 | id
}
