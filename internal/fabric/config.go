package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config is what a fabric consists of.
type Config struct {
	// Dir is the folder for the links' sockets, made with mode 0700 where it is missing. Socket paths end at 107 bytes, so
	// keep it short.
	Dir string
	// Owner is who the sockets are given to when this process is root: the user that QEMU runs as. Nil leaves them.
	Owner    *Owner
	Networks []NetworkConfig
	// Routers join networks.
	Routers []RouterConfig
	// Seed is where all randomness of impairments comes from: the same seed, names and frames give the same losses.
	Seed uint64
	// Dialer reaches the outside for networks with Internet, and the host's resolver. Those need one.
	Dialer Dialer
	// ResolvConf is the resolver configuration file of the host whose servers answer for networks with Internet; empty
	// means /etc/resolv.conf. It is read at each question, so that a host that roams is followed.
	ResolvConf string
	// Log gets what is worth a developer's attention; nil discards it.
	Log *slog.Logger
	// Clock is time.Now when nil.
	Clock func() time.Time
}

// Owner is a user and group of the host, by number.
type Owner struct{ UID, GID int }

// Dialer opens connections on the host's network; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// NetworkConfig is one L2 segment with an IPv4 subnet.
type NetworkConfig struct {
	Name   string
	Subnet netip.Prefix
	// Gateway is the address that answers ping, DNS and DHCP, and where packets for other networks go. An invalid address
	// means no gateway: then there are no names, no leases and no port forwards on this network.
	Gateway netip.Addr
	// Control is the host's address for Dial, always there.
	Control netip.Addr
	// MTU in bytes is announced by DHCP and used by the endpoints; 0 means 1500. The switch passes larger frames too.
	MTU int
	// Internet lets TCP and UDP leave by Config.Dialer. Otherwise no packet leaves.
	Internet bool
	Hosts    []Host

	routed
}

// Host is a node's place on a network.
type Host struct {
	Node string
	Addr netip.Addr
	MAC  net.HardwareAddr
	// Conditions is what the link begins with.
	Conditions Conditions
}

const (
	defaultMTU = 1500
	minMTU     = 68    // RFC 791
	maxMTU     = 65535 // the length field of IPv4
	maxSocket  = 107   // sun_path, less its terminating zero
	resolvConf = "/etc/resolv.conf"
)

// withDefaults fills in what may be left out.
func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.ResolvConf == "" {
		c.ResolvConf = resolvConf
	}
	networks := make([]NetworkConfig, len(c.Networks))
	for i, n := range c.Networks {
		if n.MTU == 0 {
			n.MTU = defaultMTU
		}
		n.Subnet = n.Subnet.Masked()
		networks[i] = n
	}
	c.Networks = networks
	return c.withRouters()
}

// validate reports everything that is wrong with c.
func (c Config) validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("fabric: Dir is empty, want a folder for the sockets"))
	}
	names := make(map[string]bool)
	for i, n := range c.Networks {
		if names[n.Name] {
			errs = append(errs, fmt.Errorf("network %q: named twice", n.Name))
		}
		names[n.Name] = true
		for _, other := range c.Networks[:i] {
			if other.Subnet.IsValid() && n.Subnet.IsValid() && other.Subnet.Overlaps(n.Subnet) {
				errs = append(errs, fmt.Errorf("network %q: subnet %s overlaps %s of network %q", n.Name, n.Subnet, other.Subnet, other.Name))
			}
		}
		if n.Internet && c.Dialer == nil {
			errs = append(errs, fmt.Errorf("network %q: internet needs a Dialer", n.Name))
		}
		errs = append(errs, n.validate()...)
	}
	return errors.Join(append(errs, c.validateRouters()...)...)
}

func (n NetworkConfig) validate() []error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("network %q: "+format, append([]any{n.Name}, args...)...))
	}
	if !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() {
		fail("subnet %s is not IPv4", n.Subnet)
		return errs
	}
	if n.MTU < minMTU || n.MTU > maxMTU {
		fail("MTU %d, want %d to %d", n.MTU, minMTU, maxMTU)
	}
	if n.Internet && !n.Gateway.IsValid() {
		fail("internet needs a gateway address")
	}
	addrs := make(map[netip.Addr]string)
	macs := map[string]string{
		macFor(n.Name, controlRole).String(): "the control endpoint",
		macFor(n.Name, gatewayRole).String(): "the gateway",
	}
	take := func(who string, a netip.Addr) {
		if !n.Subnet.Contains(a) {
			fail("%s has address %s, which is not in %s", who, a, n.Subnet)
		} else if other, ok := addrs[a]; ok {
			fail("%s and %s share address %s", other, who, a)
		}
		addrs[a] = who
	}
	take("the control endpoint", n.Control)
	if n.Gateway.IsValid() {
		take("the gateway", n.Gateway)
	}
	nodes := make(map[string]bool)
	for _, h := range n.Hosts {
		who := fmt.Sprintf("node %q", h.Node)
		if nodes[h.Node] {
			fail("%s is on it twice", who)
		}
		nodes[h.Node] = true
		take(who, h.Addr)
		if len(h.MAC) != 6 || h.MAC[0]&1 != 0 {
			fail("%s has MAC %q, want six bytes of a unicast address", who, h.MAC)
		} else if other, ok := macs[h.MAC.String()]; ok {
			fail("%s and %s share MAC %s", other, who, h.MAC)
		}
		macs[h.MAC.String()] = who
		if err := h.Conditions.Validate(); err != nil {
			fail("%s: %w", who, err)
		}
	}
	return errs
}
