package nat

import (
	"fmt"
	"strings"
)

// Behavior says what a mapping or a filter depends on (RFC 4787, sections 4.1 and 5).
type Behavior uint8

// The behaviors. The zero value is none at all: no mapping.
const (
	NoMapping Behavior = iota
	// EndpointIndependent ignores whom the inside talks to.
	EndpointIndependent
	// AddressDependent looks at the peer's address.
	AddressDependent
	// AddressAndPortDependent looks at the peer's address and port.
	AddressAndPortDependent
)

// String is the behavior as the topology writes it.
func (b Behavior) String() string {
	switch b {
	case NoMapping:
		return "none"
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	default:
		return fmt.Sprintf("behavior(%d)", uint8(b))
	}
}

// ParseBehavior is the behavior that String writes as text, without "none".
func ParseBehavior(text string) (Behavior, error) {
	for b := EndpointIndependent; b <= AddressAndPortDependent; b++ {
		if b.String() == text {
			return b, nil
		}
	}
	return NoMapping, fmt.Errorf("no behavior %q; there are: endpoint-independent, address-dependent, address-and-port-dependent", text)
}

// Ports is how the outside port of a new mapping is chosen.
type Ports uint8

// The ways to choose ports.
const (
	// Preserve takes the inside's own port while it is free, else the next free one above it.
	Preserve Ports = iota
	// Random draws one.
	Random
)

// String is the choice as the topology writes it.
func (p Ports) String() string {
	if p == Random {
		return "random"
	}
	return "preserve"
}

// Firewall is what happens to packets from outside that no packet from inside has asked for.
type Firewall uint8

// The firewalls.
const (
	// Open leaves them to the filtering, or lets them in where nothing is translated.
	Open Firewall = iota
	// DropInbound drops them, whatever the filtering; only replies and static forwards get in.
	DropInbound
)

// String is the firewall as the topology writes it.
func (f Firewall) String() string {
	if f == DropInbound {
		return "drop-inbound"
	}
	return "none"
}

// Protocol is an IPv4 protocol number.
type Protocol uint8

// The protocols that are translated.
const (
	ICMP Protocol = 1
	TCP  Protocol = 6
	UDP  Protocol = 17
)

// String is the protocol's name in lower case.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	default:
		return fmt.Sprintf("protocol %d", uint8(p))
	}
}

// presets are the types of RFC 3489, section 5, in today's words. Cone NATs of that time preserved ports and symmetric ones
// did not.
var presets = [...]struct {
	name   string
	config Config
}{
	{"none", Config{}},
	{"full-cone", Config{Mapping: EndpointIndependent, Filtering: EndpointIndependent}},
	{"restricted-cone", Config{Mapping: EndpointIndependent, Filtering: AddressDependent}},
	{"port-restricted-cone", Config{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent}},
	{"symmetric", Config{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Random}},
}

// Presets are the names that Preset knows.
func Presets() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// Preset is the configuration that goes by a name of RFC 3489: full-cone, restricted-cone, port-restricted-cone or
// symmetric; or none. All hairpin. The caller may change any field of it.
func Preset(name string) (Config, error) {
	for _, p := range presets {
		if p.name == name {
			c := p.config
			c.Hairpin = c.Mapping != NoMapping
			return c, nil
		}
	}
	return Config{}, fmt.Errorf("no NAT type %q; there are: %s", name, strings.Join(Presets(), ", "))
}

// Name is the preset that has the same mapping and filtering, or both behaviors where none has.
func (c Config) Name() string {
	for _, p := range presets {
		if p.config.Mapping == c.Mapping && p.config.Filtering == c.Filtering {
			return p.name
		}
	}
	return fmt.Sprintf("%s mapping, %s filtering", c.Mapping, c.Filtering)
}
