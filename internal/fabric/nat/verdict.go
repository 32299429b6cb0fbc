package nat

// Action is what the router does with a packet.
type Action uint8

// The actions.
const (
	// Drop the packet; the verdict's Cause says why.
	Drop Action = iota
	// Pass the packet, as it now is, on to the other side.
	Pass
	// TurnBack sends it back inside.
	TurnBack
	// Local means that it is for the router itself, which answers it or drops it.
	Local
)

// Cause says why a packet was dropped.
type Cause uint8

// The causes.
const (
	// None is the cause of what was not dropped.
	None Cause = iota
	// Malformed packets are cut off or contradict themselves.
	Malformed
	// Unsupported protocols cannot be translated.
	Unsupported
	// Unsolicited packets from outside belong to no mapping.
	Unsolicited
	// Filtered packets are for a mapping, from a peer that its filtering does not admit.
	Filtered
	// Firewalled packets were not asked for from inside.
	Firewalled
	// NoSession packets speak about a session that there is not: ICMP errors, echo replies, resets.
	NoSession
	// HairpinOff packets from inside are for the outside address, and hairpinning is off.
	HairpinOff
	// HostFull means that the inside host has all the mappings one host may have.
	HostFull
	// TableFull means that there is no room for another mapping, session or fragment.
	TableFull
	// PortsTaken means that no outside port is left.
	PortsTaken
	// FragmentLost means that a fragment came whose first one has not been seen.
	FragmentLost
	causes
)

// Causes is how many causes there are; each is less than that.
const Causes = int(causes)

var causeNames = [...]string{
	"none", "nat malformed", "nat unsupported protocol", "nat unsolicited", "nat filtered", "firewall", "nat no session",
	"nat hairpin off", "nat host limit", "nat table full", "nat no free port", "nat fragment without its first",
}

// String is the cause in a few words.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "unknown"
}

// Refusal tells whether the router should say so to the sender: a packet from inside that got no mapping is answered with
// "communication administratively prohibited" (RFC 5508 REQ-8).
func (c Cause) Refusal() bool { return c == HostFull || c == TableFull || c == PortsTaken }

// Verdict is what becomes of a packet.
type Verdict struct {
	Action Action
	Cause  Cause
}

func drop(c Cause) Verdict { return Verdict{Drop, c} }

var (
	pass  = Verdict{Action: Pass}
	local = Verdict{Action: Local}
)
