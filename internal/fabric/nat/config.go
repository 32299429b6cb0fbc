package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The defaults of Config.
const (
	DefaultUDPTimeout        = 5 * time.Minute             // RFC 4787 REQ-5: not under 2 minutes, 5 recommended
	DefaultTCPTimeout        = 2*time.Hour + 4*time.Minute // RFC 5382 REQ-5
	DefaultTransitoryTimeout = 4 * time.Minute             // RFC 5382 REQ-5
	DefaultICMPTimeout       = time.Minute                 // RFC 5508 REQ-2
	DefaultMaxMappings       = 32768
	DefaultMaxPerHost        = 4096
)

// Config says how packets are translated and filtered. Its zero value is a plain router.
type Config struct {
	// Mapping says which packets of one inside endpoint share an outside port; NoMapping translates nothing.
	Mapping Behavior
	// Filtering says which packets from outside a mapping lets in. It goes with a mapping: both are set, or neither.
	Filtering Behavior
	Ports     Ports
	// Hairpin lets the inside reach its own mappings and forwards by the outside address.
	Hairpin  bool
	Firewall Firewall
	// UDPTimeout ends a mapping after its last packet from inside.
	UDPTimeout time.Duration
	// TCPTimeout ends an idle established connection.
	TCPTimeout time.Duration
	// TransitoryTimeout ends a connection that is being opened or has been closed.
	TransitoryTimeout time.Duration
	// ICMPTimeout ends the mapping of an echo identifier after its last request.
	ICMPTimeout time.Duration
	// Forwards are reachable from outside at any time.
	Forwards []Forward
	// MaxMappings bounds the mappings in total and MaxPerHost those of one inside address; 0 means the defaults. Static
	// forwards do not count.
	MaxMappings, MaxPerHost int
}

// Forward is a static mapping of an outside port.
type Forward struct {
	// Protocol is TCP or UDP.
	Protocol Protocol
	// Port is the port of the outside address.
	Port uint16
	// To is the inside endpoint.
	To netip.AddrPort
}

// String is the forward as the topology writes it.
func (f Forward) String() string { return fmt.Sprintf("%s:%d:%s", f.Protocol, f.Port, f.To) }

// Clone is a copy that shares nothing with c.
func (c Config) Clone() Config {
	c.Forwards = slices.Clone(c.Forwards)
	return c
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("nat: "+format, args...)) }
	if c.Mapping > AddressAndPortDependent || c.Filtering > AddressAndPortDependent {
		fail("mapping %s, filtering %s: no such behavior", c.Mapping, c.Filtering)
	}
	if (c.Mapping == NoMapping) != (c.Filtering == NoMapping) {
		fail("mapping %s with filtering %s: both are needed, or neither; without translation use the firewall", c.Mapping, c.Filtering)
	}
	if c.Mapping == NoMapping && len(c.Forwards) > 0 {
		fail("forwards without translation: the inside can be reached by its own addresses")
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"UDP", c.UDPTimeout},
		{"TCP", c.TCPTimeout},
		{"transitory", c.TransitoryTimeout},
		{"ICMP", c.ICMPTimeout},
	} {
		if d.d < 0 {
			fail("%s timeout %s is negative", d.name, d.d)
		}
	}
	if c.MaxMappings < 0 || c.MaxPerHost < 0 {
		fail("limits of %d mappings and %d per host: want none or at least one", c.MaxMappings, c.MaxPerHost)
	}
	return errors.Join(append(errs, c.validateForwards()...)...)
}

func (c Config) validateForwards() []error {
	var errs []error
	for i, f := range c.Forwards {
		if f.Protocol != TCP && f.Protocol != UDP {
			errs = append(errs, fmt.Errorf("nat: forward %s: want tcp or udp", f))
		}
		if f.Port == 0 || f.To.Port() == 0 || !f.To.Addr().Is4() {
			errs = append(errs, fmt.Errorf("nat: forward %s: want ports from 1 to 65535 and an IPv4 address", f))
		}
		for _, other := range c.Forwards[:i] {
			if f.Protocol == other.Protocol && f.Port == other.Port {
				errs = append(errs, fmt.Errorf("nat: forwards %s and %s share a port", other, f))
			} else if f.Protocol == other.Protocol && f.To == other.To {
				errs = append(errs, fmt.Errorf("nat: forwards %s and %s lead to one endpoint, so replies would have two ports to choose from", other, f))
			}
		}
	}
	return errs
}

// withDefaults fills in what may be left out.
func (c Config) withDefaults() Config {
	c = c.Clone()
	for field, value := range map[*time.Duration]time.Duration{
		&c.UDPTimeout:        DefaultUDPTimeout,
		&c.TCPTimeout:        DefaultTCPTimeout,
		&c.TransitoryTimeout: DefaultTransitoryTimeout,
		&c.ICMPTimeout:       DefaultICMPTimeout,
	} {
		if *field == 0 {
			*field = value
		}
	}
	if c.MaxMappings == 0 {
		c.MaxMappings = DefaultMaxMappings
	}
	if c.MaxPerHost == 0 {
		c.MaxPerHost = DefaultMaxPerHost
	}
	return c
}
